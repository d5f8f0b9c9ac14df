// Package e2e runs the built binary from outside, over real sockets. TestMain builds it once, with the race detector
// where the tests have it, and changes to the top of the repository. The files are grouped by story:
//
//   - sidecar_test.go: one gate in front of one app: codes, tokens, identity headers, restart, signals
//   - gate_*: one gate under attack and under load: malformed requests, floods, TLS, WebSockets, reloads, and a ledger
//     that counts what was lost or sent twice
//   - replicas_*: several gates that share one Redis, while the store fails in every way
//   - docs_*: the commands and claims of README.md, docs/ and examples/
//   - deploy_*: what runs the gate elsewhere: Dockerfile, Kubernetes, Prometheus
//   - arrows_test.go: which package may import which
package e2e
