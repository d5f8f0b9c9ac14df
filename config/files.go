package config

import (
	"crypto/x509"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// contents reads a file that a setting names.
func (b *builder) contents(path yaml.Setting[string]) ([]byte, bool) {
	data, err := b.ReadFile(b.Resolve(path.Value))
	if err != nil {
		b.Fault(
			path.At,
			"the file "+path.Shown+" cannot be read ("+yaml.Cause(err)+")",
			"create it; relative paths start at this file's directory",
		)
		return nil, false
	}
	return data, true
}

func (b *builder) authorities(file yaml.Setting[string]) string {
	if !file.Usable() || !file.Given {
		return ""
	}
	data, ok := b.contents(file)
	if ok && !x509.NewCertPool().AppendCertsFromPEM(data) {
		b.Fault(file.At, file.Shown+" holds no certificate", "name a PEM file of CA certificates")
	}
	return string(data)
}
