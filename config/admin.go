package config

import (
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildAdmin() {
	w := b.file.admin
	b.Admin = Admin{
		Listen: w.Value.listen.Value, Implicit: !w.Given,
		Token: w.Value.token, HealthListen: w.Value.healthListen.Value,
		MetricsListen: w.Value.metricsListen.Value, Pprof: w.Value.pprof, Refusals: w.Value.refusals,
		Console: w.Value.console,
	}
	for _, address := range []yaml.Setting[string]{w.Value.listen, w.Value.healthListen, w.Value.metricsListen} {
		if address.Given && address.Value != "" && b.listensOn(address.Value) {
			b.Fault(address.At, address.Shown+" is the address of a listener", "give admin its own address")
		}
	}
	own := []struct {
		name, serves string
		at           yaml.Setting[string]
	}{
		{"admin.listen", "everything", w.Value.listen},
		{"health_listen", "the health checks", w.Value.healthListen},
		{"metrics_listen", "the metrics", w.Value.metricsListen},
	}
	for i, second := range own[1:] {
		for _, first := range own[:i+1] {
			switch {
			case !second.at.Given, second.at.Value == "", second.at.Value != first.at.Value,
				strings.HasSuffix(second.at.Value, ":0"):
			case first.name == "admin.listen":
				b.Fault(second.at.At, second.at.Shown+" is admin.listen",
					"remove "+second.name+": the admin listener serves "+second.serves+" too")
			default:
				b.Fault(second.at.At, second.at.Shown+" is admin."+first.name, "give each its own address")
			}
		}
	}
}
