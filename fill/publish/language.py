"""The language of a track as manifests write it (RFC 5646), and what its own speakers call it.

Containers say it in three letters of ISO 639-2, of which twenty languages have two forms; manifests
want the shortest that there is.

Source: ISO 639-1, 639-2; RFC 5646 section 2.2.1 (the shortest code), 4.1.
"""

from __future__ import annotations

import re
from typing import Final

UNDETERMINED: Final = "und"

_TABLE: Final = """
ara ar العربية;bel be беларуская;ben bn বাংলা;bos bs bosanski;bul bg български;cat ca català;ces cs čeština
chi zh 中文;cym cy Cymraeg;cze cs čeština;dan da dansk;deu de Deutsch;dut nl Nederlands;ell el Ελληνικά
eng en English;est et eesti;eus eu euskara;fas fa فارسی;fil fil Filipino;fin fi suomi;fra fr français
fre fr français;ger de Deutsch;gle ga Gaeilge;glg gl galego;gre el Ελληνικά;gsw gsw Schwiizertüütsch
guj gu ગુજરાતી;heb he עברית;hin hi हिन्दी;hrv hr hrvatski;hun hu magyar;hye hy հայերեն;ice is íslenska
ind id Indonesia;isl is íslenska;ita it italiano;jpn ja 日本語;kan kn ಕನ್ನಡ;kat ka ქართული;kaz kk қазақ тілі
khm km ខ្មែរ;kor ko 한국어;lao lo ລາວ;lav lv latviešu;lit lt lietuvių;mac mk македонски;mal ml മലയാളം;mar mr मराठी
may ms Melayu;mkd mk македонски;mon mn монгол;msa ms Melayu;mya my မြန်မာ;nep ne नेपाली;nld nl Nederlands
nob nb norsk bokmål;nno nn nynorsk;nor no norsk;pan pa ਪੰਜਾਬੀ;per fa فارسی;pol pl polski;por pt português
ron ro română;rum ro română;rus ru русский;sin si සිංහල;slk sk slovenčina;slo sk slovenčina
slv sl slovenščina;spa es español;sqi sq shqip;srp sr српски;swa sw Kiswahili;swe sv svenska;tam ta தமிழ்
tel te తెలుగు;tha th ไทย;tur tr Türkçe;ukr uk українська;urd ur اردو;uzb uz o‘zbek;vie vi Tiếng Việt
wel cy Cymraeg;zho zh 中文;zul zu isiZulu
"""
_ROWS: Final = [row.split(" ", 2) for line in _TABLE.strip().splitlines() for row in line.split(";")]
_SHORT: Final = {row[0]: row[1] for row in _ROWS}
_NAMES: Final = {row[1]: row[2] for row in _ROWS}
_TAG: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}\Z").match
_NOT_A_LANGUAGE: Final = {"mis", "mul", "zxx"}


def language_tag(text: str | None) -> str:
    """``text`` as a tag of RFC 5646, such as de or pt-BR; `UNDETERMINED` where it is none."""
    text = (text or "").strip().replace("_", "-")
    if not _TAG(text):
        return UNDETERMINED
    first, dash, rest = text.partition("-")
    first = first.lower()
    if first in _NOT_A_LANGUAGE:
        return UNDETERMINED
    return _SHORT.get(first, first) + dash + rest


def language_name(tag: str) -> str:
    """What the speakers of ``tag`` call it; the tag itself where we do not know."""
    first, _, rest = tag.partition("-")
    name = _NAMES.get(first)
    if name is None:
        return tag
    return f"{name} ({rest})" if rest else name
