package h2

// recent remembers which of the streams that were opened lately were reset by us while the client had more to say: it may not know yet,
// and what it says there is no fault (RFC 9113 section 5.1).
type recent struct{ bits [recentMost / 64]uint64 }

const recentMost = 512

func (r *recent) at(id uint32) (word *uint64, bit uint64) {
	n := id / 2 % recentMost
	return &r.bits[n/64], 1 << (n % 64)
}

func (r *recent) add(id uint32) {
	word, bit := r.at(id)
	*word |= bit
}

func (r *recent) has(id uint32) bool {
	word, bit := r.at(id)
	return *word&bit != 0
}

// forget makes place for the streams behind the newest one, up to id.
func (r *recent) forget(newest, id uint32) {
	if id-newest >= 2*recentMost {
		*r = recent{}
		return
	}
	for n := newest + 1; n <= id; n++ {
		word, bit := r.at(n)
		*word &^= bit
	}
}
