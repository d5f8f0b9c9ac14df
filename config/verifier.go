package config

import "github.com/jotgate/jotgate/internal/jose"

func (b *builder) keySet(w []setting[writtenKeySet]) *jose.KeySet {
	for _, k := range w {
		if k.bad {
			continue
		}
		data, ok := b.contents(k.Value.file)
		if !ok {
			continue
		}
		set, skipped, err := jose.ParseKeySet(data)
		if err != nil {
			b.fault(k.Value.file.at, k.Value.file.shown+" holds no public keys ("+err.Error()+")", "name a JWKS, a JWK or a PEM file")
			continue
		}
		for _, s := range skipped {
			b.warn(k.Value.file.at, k.Value.file.shown+" has a key that is left out ("+s.Error()+")", "remove or mend it")
		}
		return set
	}
	return nil
}
