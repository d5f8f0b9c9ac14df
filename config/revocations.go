package config

import yaml "github.com/jotgate/jotgate/internal/strictyaml"

func (b *builder) buildRevocations() {
	w := &b.file.revocations.Value
	b.Revocations = Revocations{
		File: w.file.Value, Capacity: w.capacity, Poll: w.poll, MaxStaleness: w.maxStaleness.Value, RefuseStale: w.onStale == "refuse",
	}
	if w.file.Given && !w.file.Bad {
		b.Revocations.File = b.Resolve(w.file.Value)
	}
	switch {
	case w.store.Value == storeRedis && w.file.Given:
		b.Fault(w.file.At, "is there beside store: redis", "keep one of the two")
	case w.store.Value == storeRedis && !b.file.redis.Given:
		b.Fault(w.store.At, "needs redis, which is missing", "write redis: {url: redis://127.0.0.1:6379/0}")
	case w.store.Value == storeFile && !w.file.Given:
		b.Fault(w.store.At, "needs a file", "write file: /var/lib/jotgate/revoked beside it")
	}
	b.Revocations.Shared = b.Redis != nil && (w.store.Value == storeRedis || !w.store.Given && !w.file.Given)
	if b.Revocations.Shared && w.maxStaleness.Usable() && w.maxStaleness.Value < 2*w.poll {
		b.Fault(w.maxStaleness.At, yaml.SpellDuration(w.maxStaleness.Value)+" is less than twice poll, "+yaml.SpellDuration(w.poll), "raise it: one slow answer would make the list stale")
	}
	if b.file.replicas.Value > 1 && w.file.Given && !w.file.Bad {
		b.Warn(w.file.At, "is this replica's own: the others do not hear of what is withdrawn here", "leave it out, so that withdrawals are shared in redis")
	}
}
