// The suite's tests as a line of JSON: what `bench.conformance.suite` must know of each.
import suites from 'http-cache-tests/tests/index.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'

const tests = [...suites, surrogate].flatMap(suite => suite.tests
  .filter(test => test.browser_only !== true)
  .map(test => ({
    id: test.id,
    name: test.name,
    suite: suite.name,
    kind: test.kind || 'required',
    depends_on: test.depends_on || []
  })))
console.log(JSON.stringify(tests))
