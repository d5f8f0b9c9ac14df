package h2

// recent remembers which of the streams that were opened lately were reset by us while the client had more to say: it
// may not know yet, and what it says there is no fault (RFC 9113 section 5.1).
type recent struct {
	newest uint32 // the highest stream that the client opened
	bits   [recentMost / 64]uint64
}

const recentMost = 512 // the client's are the odd ones

func (r *recent) at(id uint32) (word *uint64, bit uint64) {
	n := id / 2 % recentMost
	return &r.bits[n/64], 1 << (n % 64)
}

func (r *recent) knows(id uint32) bool { return id <= r.newest && r.newest-id < 2*recentMost }

func (r *recent) add(id uint32) {
	if r.knows(id) {
		word, bit := r.at(id)
		*word |= bit
	}
}

func (r *recent) has(id uint32) bool {
	word, bit := r.at(id)
	return r.knows(id) && *word&bit != 0
}

// begin notes the newest stream, and forgets those that it takes the place of, and that of those between.
func (r *recent) begin(id uint32) {
	if id-r.newest >= 2*recentMost {
		*r = recent{}
	}
	for n := r.newest + 1; n <= id && id-r.newest < 2*recentMost; n++ {
		word, bit := r.at(n)
		*word &^= bit
	}
	r.newest = id
}
