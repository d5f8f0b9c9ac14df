package proxy

// names is a set of folded names that is asked about names as they are. Most names are in no set: what tells them apart
// from all of a set is looked at first, their length and two of their letters, and only a name that could be in it is
// folded and looked up.
type names struct {
	marks  [maxFold]uint64 // by length
	folded map[string]struct{}
}

func newNames() *names { return &names{folded: make(map[string]struct{})} }

func (n *names) add(name string) {
	folded := string(fold(nil, name))
	n.folded[folded] = struct{}{}
	if len(folded) < maxFold && folded != "" {
		n.marks[len(folded)] |= mark(folded)
	}
}

// could reports whether a name may be in the set.
func (n *names) could(name string) bool {
	return len(name) >= maxFold || name != "" && n.marks[len(name)]&mark(name) != 0
}

func (n *names) has(folded []byte) bool {
	_, is := n.folded[string(folded)]
	return is
}

// mark is one of 64 bits, the same for all spellings of a name.
func mark(name string) uint64 {
	return 1 << ((5*foldByte(name[len(name)/2]) + foldByte(name[len(name)-1])) & 63)
}

func foldByte(c byte) byte {
	switch {
	case 'A' <= c && c <= 'Z':
		return c + 'a' - 'A'
	case 'a' <= c && c <= 'z', '0' <= c && c <= '9':
		return c
	}
	return '-'
}
