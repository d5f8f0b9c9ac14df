package jose

import (
	"strings"
	"testing"
	"time"

	"github.com/jotgate/jotgate/internal/dpop/dpoptest"
)

const proofGoodAt = 1_700_000_000

// proofBy is a good proof of a key, read.
func proofBy(t testing.TB, key *dpoptest.Key) *Proof {
	t.Helper()
	p, err := ParseProof(key.Proof("GET", "https://api.example/", time.Unix(proofGoodAt, 0)), 4096)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// shown sends so many good proofs, as a client with a bound token does, and a forged one after each.
func shown(t testing.TB, keys *ProofKeys, key *dpoptest.Key, times int) {
	t.Helper()
	for range times {
		p := proofBy(t, key)
		if !p.Signed(keys) {
			t.Fatal("a good proof is refused")
		}
		p.Remember(keys)
		p.signed = strings.Replace(p.signed, ".", ".A", 1)
		if p.Signed(keys) {
			t.Fatal("a forged proof passes")
		}
	}
}

func (k *ProofKeys) isPrepared(p *Proof) bool {
	key := k.known(p)
	if key == nil {
		return false
	}
	k.prepared.mu.Lock()
	defer k.prepared.mu.Unlock()
	return k.prepared.keys[key] != nil
}

// TestKeysOfProofsArePrepared, for each algorithm that can be, and judge as before.
func TestKeysOfProofsArePrepared(t *testing.T) {
	t.Parallel()
	for _, alg := range ProofAlgorithms() {
		t.Run(alg, func(t *testing.T) {
			t.Parallel()
			keys := NewProofKeys(4)
			key := dpoptest.New(t, alg, 0)
			shown(t, keys, key, 2*preparedAt/goodWeight)
			if got, want := keys.isPrepared(proofBy(t, key)), preparable(algorithms[proofAlgorithms[alg]]); got != want {
				t.Errorf("prepared is %t, want %t", got, want)
			}
		})
	}
}

// TestAFloodOfProofKeys: a client with a thousand keys and tokens takes no key's place that is in use, and no more
// memory than there is for it.
func TestAFloodOfProofKeys(t *testing.T) {
	t.Parallel()
	keys := NewProofKeys(2)
	now := time.Unix(proofGoodAt, 0)
	keys.prepared.now = func() time.Time { return now }
	honest := dpoptest.New(t, "ES256", 0)
	shown(t, keys, honest, 2*preparedAt/goodWeight)
	for range 8 {
		shown(t, keys, dpoptest.New(t, "ES256", 0), 2*preparedAt/goodWeight)
	}
	if !keys.isPrepared(proofBy(t, honest)) || len(keys.prepared.keys) != 2 {
		t.Errorf("the honest client's key is prepared: %t; %d keys are", keys.isPrepared(proofBy(t, honest)),
			len(keys.prepared.keys))
	}
	one := proofBy(t, dpoptest.New(t, "ES256", 0))
	for i := range 2 * rememberedProofKeys {
		other := *one
		other.Thumbprint = strings.Repeat("x", i%40) + time.Duration(i).String()
		other.Remember(keys)
	}
	if n := keys.keys.Len(); n != rememberedProofKeys {
		t.Errorf("%d keys are remembered", n)
	}
	if !proofBy(t, honest).Signed(keys) {
		t.Error("refused after the flood")
	}
}

// TestNoPreparedProofKeys: 0 leaves all to the standard library.
func TestNoPreparedProofKeys(t *testing.T) {
	t.Parallel()
	keys := NewProofKeys(0)
	keys.OnDisagreement(func(string) {})
	shown(t, keys, dpoptest.New(t, "ES256", 0), 2)
}

// TestDisagreementAboutAProof: the standard library's word counts, and ends it all.
func TestDisagreementAboutAProof(t *testing.T) {
	t.Parallel()
	keys := NewProofKeys(1)
	told := 0
	keys.OnDisagreement(func(string) { told++ })
	key := dpoptest.New(t, "ES256", 0)
	shown(t, keys, key, 2*preparedAt/goodWeight)
	keys.prepared.tamper = func(bool) bool { return true }
	refused := false
	for range 2 * recheckEvery {
		p := proofBy(t, key)
		p.signature = append([]byte(nil), p.signature...)
		p.signature[0] ^= 1
		if refused = !p.Signed(keys); refused {
			break
		}
	}
	if !refused || told != 1 || !keys.prepared.ended.Load() {
		t.Errorf("refused %t, told %d times, ended %t", refused, told, keys.prepared.ended.Load())
	}
}

// BenchmarkProof is a proof read and verified, by a key that is new each time and by one that is known.
func BenchmarkProof(b *testing.B) {
	key := dpoptest.New(b, "ES256", 0)
	compact := key.Proof("GET", "https://api.example/", time.Unix(proofGoodAt, 0))
	keys := NewProofKeys(1)
	shown(b, keys, key, 2*preparedAt/goodWeight)
	for name, known := range map[string]*ProofKeys{"new": nil, "prepared": keys} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p, err := ParseProof(compact, 4096)
				if err != nil || !p.Signed(known) {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParseProof(compact, 4096); err != nil {
				b.Fatal(err)
			}
		}
	})
}
