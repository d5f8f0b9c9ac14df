// Package e2e plays with the built binary from outside, story by story: what README and docs promise, the gate under
// attack and under load, several gates on one Redis.
package e2e
