package config

import "net/netip"

// askLocally are the peers that may ask where the file does not name any.
var askLocally = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func (b *builder) buildDecision() {
	w := b.file.decision
	if !w.Given {
		return
	}
	d := &Decision{Listen: w.Value.listen.Value, From: askLocally}
	if len(w.Value.from) > 0 {
		d.From = b.prefixes(w.Value.from, "name the fronts alone: any peer can now ask, and forge a client's address")
	}
	d.ClientCA = b.authorities(w.Value.clientCA)
	if at := w.Value.listen; at.Usable() && b.listensOn(d.Listen) {
		b.Fault(at.At, at.Shown+" is the address of a listener", "give decision its own address")
	}
	b.Decision = d
}
