package jose

import (
	"crypto/rsa"
	"runtime"
	"sync/atomic"

	"github.com/jotgate/jotgate/internal/refusal"
)

// dearChecks bounds the signature checks that cost much (P-384, P-521, large RSA keys, several keys for one token).
// Such tokens can be forged at no cost; without a bound their checks take every processor, and requests whose token is
// cached wait behind them.
type dearChecks struct {
	places  chan struct{}
	waiting atomic.Int64 // checks, not tokens: a token for which four keys are tried counts four
	most    int64
}

const (
	// dearCost is what one token's checks may cost, in microseconds, without being bounded.
	dearCost = 150
	// dearWaiting is how many checks may wait for each that runs.
	dearWaiting = 64
)

func newDearChecks() *dearChecks {
	places := max(1, runtime.GOMAXPROCS(0)/2)
	return &dearChecks{places: make(chan struct{}, places), most: int64(places * (1 + dearWaiting))}
}

// enter waits for a place for n checks, one after the other; leave must be called if it returns nil.
func (d *dearChecks) enter(n int) error {
	if d.waiting.Add(int64(n)) > d.most {
		d.waiting.Add(-int64(n))
		return refusal.Because(refusal.SignaturesBusy, "%d dear signature checks are waiting", d.most)
	}
	d.places <- struct{}{}
	return nil
}

func (d *dearChecks) leave(n int) {
	<-d.places
	d.waiting.Add(-int64(n))
}

// checkCost is about what verifying one signature costs, in microseconds. It only has to tell the cheap from the dear.
func checkCost(material any, alg string) int {
	a := algorithms[alg]
	switch {
	case a.family == familyEC && a.bits == 521:
		return 800
	case a.family == familyEC && a.bits == 384:
		return 350
	case a.family == familyHMAC:
		return 1
	}
	if key, ok := material.(*rsa.PublicKey); ok {
		kilobits := (key.N.BitLen() + 1023) / 1024
		cost := 6 * kilobits * kilobits
		if key.E > smallExponent {
			cost *= 3
		}
		return cost
	}
	return 60
}
