package app

import (
	"testing"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
)

// A gate that is not told to expect proofs or assertions serves at once. One that is waits for a whole second, so that
// none of an earlier process is taken again and no honest client is refused.
func TestOnlyAGateThatExpectsProofsWaits(t *testing.T) {
	t.Parallel()
	of := func(c config.Client) *config.Config {
		return &config.Config{Issuer: &config.Issuer{Clients: []*config.Client{{}, &c}}}
	}
	for name, row := range map[string]struct {
		config *config.Config
		want   bool
	}{
		"no issuer":                  {&config.Config{}, false},
		"a client with a secret":     {of(config.Client{Secret: "x"}), false},
		"a client with keys":         {of(config.Client{Keys: new(jose.KeySet)}), true},
		"a client with bound tokens": {of(config.Client{Bound: true}), true},
		"dpop in the file":           {&config.Config{DPoP: config.DPoP{Given: true}}, true},
	} {
		if got := expectsProofs(row.config); got != row.want {
			t.Errorf("%s: %t, want %t", name, got, row.want)
		}
	}
	second := time.Date(2026, 12, 1, 3, 0, 0, 0, time.UTC)
	next := second.Add(time.Second)
	for after, want := range map[time.Duration]time.Time{0: second, 1: next, 999999999: next} {
		if got := nextSecond(second.Add(after)); !got.Equal(want) {
			t.Errorf("%v after: %v, want %v", after, got, want)
		}
	}
}
