package jose

import (
	"crypto/ecdsa"
	"encoding/binary"
	"math/big"

	"filippo.io/nistec"
)

// A scalar is read in digits of so many bits.
const (
	digitBits = 6
	digits    = (256 + digitBits - 1) / digitBits
	digitMost = 1<<digitBits - 1
)

// multiples are those of a P-256 public key Q that every multiple of it is a short sum of: at[i][d-1] is d·64^i·Q. A
// multiplication is then some forty additions, and no doubling; the standard library has such a table of the generator
// alone. Points and their complete addition are nistec's.
type multiples struct {
	at    [digits][digitMost]nistec.P256Point
	order *big.Int
}

// newMultiples gives nil for a key that is not on the curve.
func newMultiples(key *ecdsa.PublicKey) *multiples {
	encoded, err := key.Bytes()
	if err != nil {
		return nil
	}
	base, err := nistec.NewP256Point().SetBytes(encoded)
	if err != nil {
		return nil
	}
	m := &multiples{order: key.Curve.Params().N}
	for i := range m.at {
		row := &m.at[i]
		row[0].Set(base)
		for d := 1; d < len(row); d++ {
			row[d].Add(&row[d-1], base)
		}
		base.Add(&row[digitMost-1], base)
	}
	return m
}

// sum gives the x coordinate of u·G + v·Q; false for the point at infinity, which has none. u and v are below the
// order.
func (m *multiples) sum(u, v *big.Int) (x *big.Int, ok bool) {
	var scalar [32]byte
	p, err := nistec.NewP256Point().ScalarBaseMult(u.FillBytes(scalar[:]))
	if err != nil {
		return nil, false
	}
	m.addMultiple(p, v.FillBytes(scalar[:]))
	encoded, err := p.BytesX()
	if err != nil {
		return nil, false
	}
	return new(big.Int).SetBytes(encoded), true
}

// addMultiple adds v·Q to p; v is big-endian.
func (m *multiples) addMultiple(p *nistec.P256Point, v []byte) {
	var limbs [5]uint64 // little-endian; the last is zero, behind the topmost digit
	for i := range 4 {
		limbs[i] = binary.BigEndian.Uint64(v[8*(3-i):])
	}
	for i := range m.at {
		limb, shift := i*digitBits/64, i*digitBits%64
		d := (limbs[limb]>>shift | limbs[limb+1]<<(64-shift)) & digitMost
		if d > 0 {
			p.Add(p, &m.at[i][d-1])
		}
	}
}
