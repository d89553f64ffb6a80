/** What the page needs of a player engine, whichever it is. */

/**
 * @typedef {object} Engine
 * @property {string} version
 * @property {() => ({bitrateBps: number, height: number} | null)} rendition  what is playing now
 * @property {() => void} destroy
 */

/** Short, so that a killed appliance shows within seconds; and long enough to hide its death. */
export const BUFFER_AHEAD_S = 12;
export const BUFFER_BEHIND_S = 20;

/** The engine cannot play here; the message is for the viewer. */
export class EngineFailed extends Error {}
