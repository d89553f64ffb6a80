// The suite's own origin, on the loopback alone and on a port of the kernel's choice, which it prints.
import http from 'node:http'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'

const handlers = { config: handleConfig, state: handleState, test: handleTest }

const server = http.createServer((request, response) => {
  const [, kind, ...rest] = new URL(request.url, 'http://127.0.0.1').pathname.split('/')
  const handle = handlers[kind]
  if (handle === undefined) {
    response.writeHead(404).end()
  } else {
    handle(rest, request, response)
  }
})
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
