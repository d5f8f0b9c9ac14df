package revoke

import (
	"hash/maphash"
	"iter"
	"strings"
	"unsafe"
)

// A tokenTable holds revoked tokens by issuer and jti: some eighty bytes for each with a UUID, in a few large pieces of
// memory without pointers, which a collection passes over. Issuers and clients are few, so each of their names is held
// once. Entries are added and prolonged; those that ended are dropped by making the table anew.
//
// The hash is keyed, since clients choose jtis, and only finds candidates: what counts is that issuer and jti are
// equal.
type tokenTable struct {
	seed    maphash.Seed
	slots   []uint32 // open addressing: the number of an entry, from 1; 0 is free. Their number is a power of two
	entries [][]tokenEntry
	count   int
	texts   [][]byte // of jtis, one behind another
	names   []string // issuers and clients
	numbers map[string]uint32
}

type tokenEntry struct {
	expiry         int64 // ms; when the token ends
	issuer, client uint32
	text           uint32 // which of texts
	from, size     uint32 // … and where in it
}

const (
	entriesAtATime = 4 << 10
	textAtATime    = 256 << 10
	slotsAtFirst   = 64
)

func newTokenTable() *tokenTable {
	return &tokenTable{seed: maphash.MakeSeed(), slots: make([]uint32, slotsAtFirst), numbers: map[string]uint32{}}
}

func (t *tokenTable) len() int { return t.count }

func (t *tokenTable) at(n uint32) *tokenEntry { return &t.entries[n/entriesAtATime][n%entriesAtATime] }

// id is the entry's jti, in the table's memory, which is never written again.
func (t *tokenTable) id(e *tokenEntry) string {
	if e.size == 0 {
		return ""
	}
	b := t.texts[e.text][e.from : e.from+e.size]
	return unsafe.String(&b[0], len(b))
}

func (t *tokenTable) hash(issuer uint32, id string) uint64 {
	const odd = 0x9e3779b97f4a7c15
	return maphash.String(t.seed, id) + uint64(issuer)*odd
}

// find returns the entry, or nil and the slot where it would be.
func (t *tokenTable) find(issuer uint32, id string) (*tokenEntry, uint64) {
	most := uint64(len(t.slots) - 1)
	for i := t.hash(issuer, id) & most; ; i = (i + 1) & most {
		n := t.slots[i]
		if n == 0 {
			return nil, i
		}
		if e := t.at(n - 1); e.issuer == issuer && t.id(e) == id {
			return e, i
		}
	}
}

// get returns the entry of a token, or nil.
func (t *tokenTable) get(issuer, id string) *tokenEntry {
	number, known := t.numbers[issuer]
	if !known {
		return nil
	}
	e, _ := t.find(number, id)
	return e
}

// put adds a token, or lets the entry that there is end later if that is so; what was added first keeps its client. It
// reports whether the entry is new, and returns the table's own copy of the client's name: the strings may be in memory
// that is used again.
func (t *tokenTable) put(issuer, id, client string, expiry int64) (own string, added bool) {
	number := t.number(issuer)
	e, slot := t.find(number, id)
	if e != nil { // the first revocation may have known an earlier end
		e.expiry = max(e.expiry, expiry)
		return t.names[e.client], false
	}
	if 4*(t.count+1) > 3*len(t.slots) {
		t.grow()
		_, slot = t.find(number, id)
	}
	n := uint32(t.count)
	if n%entriesAtATime == 0 {
		t.entries = append(t.entries, make([]tokenEntry, entriesAtATime))
	}
	e = t.at(n)
	*e = tokenEntry{expiry: expiry, issuer: number, client: t.number(client), size: uint32(len(id))}
	e.text, e.from = t.write(id)
	t.slots[slot] = n + 1
	t.count++
	return t.names[e.client], true
}

func (t *tokenTable) write(id string) (text, from uint32) {
	last := len(t.texts) - 1
	if last < 0 || cap(t.texts[last])-len(t.texts[last]) < len(id) {
		t.texts = append(t.texts, make([]byte, 0, max(textAtATime, len(id))))
		last++
	}
	at := len(t.texts[last])
	t.texts[last] = append(t.texts[last], id...)
	return uint32(last), uint32(at)
}

func (t *tokenTable) number(name string) uint32 {
	n, known := t.numbers[name]
	if !known {
		name = strings.Clone(name)
		n = uint32(len(t.names))
		t.names, t.numbers[name] = append(t.names, name), n
	}
	return n
}

func (t *tokenTable) grow() {
	t.slots = make([]uint32, 2*len(t.slots))
	for n := range uint32(t.count) {
		e := t.at(n)
		_, slot := t.find(e.issuer, t.id(e))
		t.slots[slot] = n + 1
	}
}

// all yields the entries as records.
func (t *tokenTable) all() iter.Seq[record] {
	return func(yield func(record) bool) {
		for n := range uint32(t.count) {
			e := t.at(n)
			r := record{Kind: "token", Issuer: t.names[e.issuer], Value: t.id(e), Client: t.names[e.client], At: e.expiry}
			if !yield(r) {
				return
			}
		}
	}
}

// without returns a table without the tokens that ended by then, and calls dropped with the client of each; it is t
// itself if there is none.
func (t *tokenTable) without(ended int64, dropped func(client string)) *tokenTable {
	keep, ends := 0, false
	for r := range t.all() {
		if r.At > ended {
			keep++
		} else {
			ends = true
		}
	}
	if !ends {
		return t
	}
	left, slots := newTokenTable(), slotsAtFirst // as many as put would end with, made once
	for 3*slots < 4*(keep+1) {
		slots *= 2
	}
	left.slots = make([]uint32, slots)
	for r := range t.all() {
		if r.At <= ended {
			dropped(r.Client)
		} else {
			left.put(r.Issuer, r.Value, r.Client, r.At)
		}
	}
	return left
}
