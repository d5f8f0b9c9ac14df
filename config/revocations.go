package config

import (
	"github.com/jotgate/jotgate/internal/endpoint"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// checkLogout comes after the routes. Where no one can keep what was logged out, logouts would be refused one by one.
func (b *builder) checkLogout() {
	served := false
	for _, w := range b.file.trustedIssuers {
		at := w.Value.logout
		if !at.Given {
			continue
		}
		served = true
		if b.Revocations.File == "" && !b.Revocations.Shared {
			b.Fault(at.At, "has nowhere to keep what was logged out",
				"add revocations: {file: revoked}, or redis where there are replicas")
		}
	}
	for i, r := range b.Routes {
		written := &b.file.routes.Value[i].Value
		if served && written.path.Usable() && r.Path.String() == endpoint.BackchannelLogout {
			b.Fault(written.path.At, "is where trusted issuers tell of logouts, since one has logout_audiences",
				"choose another path")
		}
	}
}

func (b *builder) buildRevocations() {
	w := &b.file.revocations.Value
	b.Revocations = Revocations{
		File:         w.file.Value,
		Capacity:     w.capacity,
		Poll:         w.poll,
		MaxStaleness: w.maxStaleness.Value,
		RefuseStale:  w.onStale == "refuse",
	}
	if w.file.Given && !w.file.Bad {
		b.Revocations.File = b.Resolve(w.file.Value)
	}
	switch {
	case w.store.Value == storeRedis && w.file.Given:
		b.Fault(w.file.At, "conflicts with store: redis", "set only one of the two")
	case w.store.Value == storeRedis && !b.file.redis.Given:
		b.Fault(w.store.At, "requires redis, which is not configured", "add redis: {url: redis://127.0.0.1:6379/0}")
	case w.store.Value == storeFile && !w.file.Given:
		b.Fault(w.store.At, "requires a file", "add file: /var/lib/jotgate/revoked")
	}
	b.Revocations.Shared = b.Redis != nil && (w.store.Value == storeRedis || !w.store.Given && !w.file.Given)
	if b.Revocations.Shared && w.maxStaleness.Usable() && w.maxStaleness.Value < 2*w.poll {
		b.Fault(
			w.maxStaleness.At,
			yaml.SpellDuration(w.maxStaleness.Value)+" is less than twice poll, "+yaml.SpellDuration(w.poll),
			"raise it: otherwise one slow answer makes the list stale",
		)
	}
	if b.file.replicas.Value > 1 && w.file.Given && !w.file.Bad {
		b.Warn(
			w.file.At,
			"is local to this replica: other replicas do not see what is revoked here",
			"remove it, so that revocations are shared in redis",
		)
	}
}
