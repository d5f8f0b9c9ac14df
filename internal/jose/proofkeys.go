package jose

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// rememberedProofKeys is how many keys of proofs are counted towards being prepared, some 400 bytes each.
const rememberedProofKeys = 4096

// ProofKeys are keys of DPoP proofs that come again and again, so that they are worth preparing, as keys of issuers
// are. A client chooses its key, so these have places of their own: however many there are, no issuer's key and no key
// in use makes room for them. A nil one remembers nothing.
type ProofKeys struct {
	prepared *preparations

	mu   sync.Mutex
	keys *simplelru.LRU[proofKeyName, *PublicKey]
}

// A proofKeyName is the thumbprint of a key, of which there are no two, with the alg that it is used for.
type proofKeyName struct{ thumbprint, alg string }

// NewProofKeys prepares at most so many keys at a time. It is nil where nothing is to be prepared.
func NewProofKeys(most int) *ProofKeys {
	prepared := newPreparations(most)
	if prepared == nil {
		return nil
	}
	keys, err := simplelru.NewLRU[proofKeyName, *PublicKey](rememberedProofKeys, nil)
	if err != nil {
		return nil // the size is above zero
	}
	return &ProofKeys{prepared: prepared, keys: keys}
}

// signed reports whether the proof's own key signed it.
func (k *ProofKeys) signed(p *Proof) bool {
	if k != nil {
		if key := k.known(p); key != nil {
			return k.prepared.verify(key, key.alg, []byte(p.signed), p.signature)
		}
	}
	return algorithms[p.key.alg].verify(p.key.material, []byte(p.signed), p.signature)
}

func (p *Proof) keyName() proofKeyName { return proofKeyName{p.Thumbprint, p.key.alg} }

// known is the key that an earlier proof brought; nil: none did.
func (k *ProofKeys) known(p *Proof) *PublicKey {
	k.mu.Lock()
	defer k.mu.Unlock()
	key, _ := k.keys.Get(p.keyName())
	return key
}

// remember keeps the key of a proof, in place of the one that was seen longest ago.
func (k *ProofKeys) remember(p *Proof) {
	if k == nil || !preparable(algorithms[p.key.alg]) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.keys.Contains(p.keyName()) {
		k.keys.Add(p.keyName(), p.key)
	}
}

// OnDisagreement sets what is called, once, with the thumbprint of a prepared key that accepted a signature that the
// standard library does not accept. From then on none of these keys is prepared.
func (k *ProofKeys) OnDisagreement(tell func(thumbprint string)) {
	if k != nil {
		k.prepared.tell.Store(&tell)
	}
}
