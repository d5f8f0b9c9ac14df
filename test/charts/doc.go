// Package charts renders the Helm chart and the Kustomize overlays with the code of Helm and Kustomize themselves, and
// checks the result: each object strictly against the API's types, and each config with the gate's own `check`. It is a
// module of its own, so that these dependencies are none of the product's.
package charts
