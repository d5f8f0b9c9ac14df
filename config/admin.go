package config

import (
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildAdmin() {
	w := b.file.admin
	b.Admin = Admin{
		Listen: w.Value.listen.Value, Implicit: !w.Given,
		Token: w.Value.token, HealthListen: w.Value.healthListen.Value, Pprof: w.Value.pprof,
	}
	for _, address := range []yaml.Setting[string]{w.Value.listen, w.Value.healthListen} {
		if address.Given && address.Value != "" && b.listensOn(address.Value) {
			b.Fault(address.At, address.Shown+" is the address of a listener", "give admin its own address")
		}
	}
	if l, h := w.Value.listen, w.Value.healthListen; h.Given && h.Value != "" && h.Value == l.Value &&
		!strings.HasSuffix(h.Value, ":0") {
		b.Fault(
			h.At,
			h.Shown+" is admin.listen",
			"remove health_listen: the admin listener serves the health checks too",
		)
	}
}
