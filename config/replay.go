package config

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/jotgate/jotgate/internal/token"
)

func (b *builder) buildReplay() {
	w := &b.file.replay.Value
	b.Replay.Capacity = w.capacity.Value
	if b.Issuer == nil || !w.capacity.Usable() {
		return
	}
	issuing := issuingClients(b.Issuer)
	if b.Replay.Capacity < issuing {
		b.Fault(
			w.capacity.At,
			fmt.Sprintf(
				"%d is less than one entry for each of %d clients that may issue codes",
				b.Replay.Capacity,
				issuing,
			),
			"raise it: a client needs an entry for every code that can be live",
		)
	}
}

// issuingClients counts those that share replay.capacity.
func issuingClients(i *Issuer) (n int) {
	for _, c := range i.Clients {
		if slices.Contains(c.May, token.IssueCodes) {
			n++
		}
	}
	return n
}

// buildShared holds what is shared to what it needs: a guard that all replicas ask, and secrets that all of them have.
func (b *builder) buildShared() {
	w := &b.file.replay.Value
	b.Replay.Shared = w.store.Value == storeRedis
	switch shared := b.Replay.Shared; {
	case shared && b.Redis == nil && !b.file.redis.Given:
		b.Fault(w.store.At, "requires redis, which is not configured", "add redis: {url: redis://127.0.0.1:6379/0}")
	case shared && b.file.issuer.Given && len(b.file.issuer.Value.codeSecrets) == 0:
		b.Fault(
			w.store.At,
			"requires issuer.code_secrets: without them each process encrypts codes with its own random secret, and no other "+
				"replica can redeem them",
			"add code_secrets: [\"${env:CODE_SECRET}\"], the same on every replica; `jotgate keygen --secret` makes one",
		)
	case !shared && b.file.replicas.Value > 1:
		b.Fault(
			b.file.replicas.At,
			strconv.Itoa(b.file.replicas.Value)+" replicas cannot redeem each other's codes with replay.store: memory",
			"set replay: {store: redis} and redis, or run one replica",
		)
	}
	if limit := b.file.limits.shared; limit.Value {
		b.Limits.Shared = true
		if !b.file.redis.Given {
			b.Fault(limit.At, "requires redis, which is not configured", "add redis: {url: redis://127.0.0.1:6379/0}")
		}
	}
	b.buildRevocations()
}
