package config

import (
	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// KeySet is the public half of the issuer's keys, as it is published; nil without an issuer.
func (c *Config) KeySet() (*jose.KeySet, error) {
	if c.Issuer == nil {
		return nil, nil
	}
	public := make([]*jose.PublicKey, len(c.Issuer.Keys))
	for i, key := range c.Issuer.Keys {
		public[i] = key.Public()
	}
	return jose.NewKeySet(public...)
}

// keySet gathers a trusted issuer's keys from its files. One key that is of no use does not lose the others.
func (b *builder) keySet(w []yaml.Setting[writtenKeySet]) *jose.KeySet {
	var keys []*jose.PublicKey
	for _, k := range w {
		if k.Bad {
			continue
		}
		data, ok := b.contents(k.Value.file)
		if !ok {
			continue
		}
		file := k.Value.file
		set, skipped, err := jose.ParseNamedKeySet(data, k.Value.kid.Value)
		for _, s := range skipped {
			b.Warn(file.At, file.Shown+" holds a key that is ignored ("+s.Error()+")", "remove or correct it")
		}
		if err != nil {
			b.Fault(file.At, file.Shown+" holds no public keys ("+err.Error()+")", "name a JWK set, JWK or PEM file")
			continue
		}
		for _, key := range set.Keys() {
			if why := key.Expensive(); why != nil {
				b.Warn(file.At, file.Shown+" has "+why.Error()+
					": each of its signatures, forged ones too, takes much longer to check",
					"use a key of 2048 to 4096 bits with the exponent 65537")
			}
		}
		keys = append(keys, set.Keys()...)
	}
	set, err := jose.NewKeySet(keys...)
	if err != nil && len(w) > 0 {
		b.Fault(w[0].At, "conflicts with the other files ("+err.Error()+")", "give each key its own kid")
	}
	return set
}
