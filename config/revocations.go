package config

import yaml "github.com/jotgate/jotgate/internal/strictyaml"

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
