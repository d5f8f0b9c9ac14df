// Package replay is the guard that lets an authorization code be used once (RFC 6749 §4.1.2 and §10.5).
//
// A code carries what it means, sealed, so that nothing has to be stored when it is issued. What must be remembered is
// that it was redeemed, and that memory is bounded. The guard keeps, for each client that issues codes, the set of the
// codes it has accepted and a floor. Whatever leaves the set, for whichever reason, raises the floor to its nominal
// expiry in the same critical section, and a code whose nominal expiry is at or below the floor is refused. So every
// accepted code is, at every later moment, either in the set or at or below the floor: it cannot be accepted again.
// The floor never falls, whatever the clock does; when memory runs out, codes that were never used are refused, and no
// used one is let in.
//
// A restart forgets set and floor. So each guard has an epoch of random bytes that is part of every code's associated
// data: a code sealed before the restart, or by a replica that shares no store, does not open at all.
//
// docs/replay.md has the whole argument and what it costs.
package replay

import (
	"fmt"

	"github.com/jotgate/jotgate/internal/refusal"
)

// A Use is one attempt to redeem a code that was opened and found good in every other respect.
type Use struct {
	// Client is the id of the client that issued the code, not the one that redeems it: so no client can crowd out
	// another.
	Client string
	// Nonce is the code's identity. It is what was decoded, never a spelling of it.
	Nonce [24]byte
	// Expiry is the code's nominal expiry in milliseconds since 1970: when it was issued plus the code_ttl that its
	// client had then. It must be the same at each use of the same code.
	Expiry int64
	// Epoch is what the code was sealed under, which a shared store compares with its own.
	Epoch []byte
}

// refuse turns a reason into an error that names the client and the times, and no credential. A used code costs the
// least to refuse, since its holder decides how often that happens.
func refuse(r refusal.Reason, u Use, floor int64) error {
	switch r {
	case "":
		return nil
	case refusal.CodeUsed:
		return &refusal.Error{Reason: r, Detail: u.Client} // the client that issued it
	case refusal.CodeBelowFloor:
		return refusal.Because(r, "client %q: nominal expiry %d ms is not above the floor %d ms", u.Client, u.Expiry, floor)
	default:
		return refusal.Because(r, "client %q may not issue codes", u.Client)
	}
}

// share is what each client gets of the capacity: the same for all, rounded down; what is left over is not used.
func share(clients []string, capacity int) (int, error) {
	if capacity < 1 {
		return 0, fmt.Errorf("replay capacity is %d: it must be at least 1", capacity)
	}
	if capacity < len(clients) {
		return 0, fmt.Errorf("replay capacity %d is less than the %d clients that may issue codes: each needs at least 1",
			capacity, len(clients))
	}
	seen := make(map[string]bool, len(clients))
	for i, c := range clients {
		if c == "" {
			return 0, fmt.Errorf("client %d has no name", i)
		}
		if seen[c] {
			return 0, fmt.Errorf("client %q is named twice", c)
		}
		seen[c] = true
	}
	return capacity / max(len(clients), 1), nil
}
