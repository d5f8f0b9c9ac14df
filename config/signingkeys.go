package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/jotgate/jotgate/internal/jose"
	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// newKeyAlgorithm is what a key that we make is for: fast to sign with, and known to every client.
const newKeyAlgorithm = "ES256"

func (b *builder) buildKeys(w []yaml.Setting[writtenKey]) {
	seen := map[string]string{}
	for i, k := range b.signingFirst(b.withFolders(w)) {
		if k.Bad {
			continue
		}
		path := b.Resolve(k.Value.file.Value)
		key := b.loadKey(k, path, i)
		b.Issuer.Keys = append(b.Issuer.Keys, key)
		b.Issuer.KeyFiles = append(b.Issuer.KeyFiles, KeyFile{path, k.Value.state.Value})
		if key == nil {
			continue
		}
		if first, twice := seen[key.ID()]; twice {
			b.Fault(
				k.Value.file.At,
				k.Value.file.Shown+" has the same kid as "+first,
				"list each key once, and give each its own kid",
			)
		}
		seen[key.ID()] = k.Value.file.Shown
	}
}

// signingFirst puts the key that signs before the others: the current one, or else the first that is neither next nor
// retired. So a rotation is three edits, each with a reload between: list the new key as next, so that every verifier
// hears of it; make it current and the old one retired; remove the old one when its tokens have ended.
func (b *builder) signingFirst(w []yaml.Setting[writtenKey]) []yaml.Setting[writtenKey] {
	signing, named := -1, false
	for i, k := range w {
		switch state := k.Value.state; {
		case state.Bad:
		case state.Given && state.Value == keyCurrent && named:
			b.Fault(state.At, "is the second current key", "only one key signs: set the other to retired or next")
		case state.Given && state.Value == keyCurrent:
			signing, named = i, true
		case !state.Given && signing < 0:
			signing = i
		}
	}
	if len(w) > 0 && signing < 0 {
		b.Fault(w[0].At, "cannot sign, nor can any other key", "set state: current on one of the keys")
	}
	if signing <= 0 {
		return w
	}
	ordered := append([]yaml.Setting[writtenKey]{w[signing]}, w[:signing]...)
	return append(ordered, w[signing+1:]...)
}

func (b *builder) loadKey(k yaml.Setting[writtenKey], path string, index int) *jose.PrivateKey {
	w := k.Value.file
	data, err := b.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && k.Value.create.Value && b.before.had(path):
		b.Fault(
			w.At,
			"the key file "+w.Shown+" was in use and no longer exists",
			"restore it; to create a new key, reload with SIGHUP or `jotgate reload`",
		)
		return nil
	case errors.Is(err, fs.ErrNotExist) && k.Value.create.Value:
		b.MissingKeys = append(b.MissingKeys, MissingKey{Path: path, Index: index, fault: b.Note(w.At, "", "")})
		return b.standIn(w.At)
	case err != nil && b.keysElsewhere:
		return b.standIn(w.At)
	case errors.Is(err, fs.ErrNotExist):
		b.Fault(w.At, "the key file "+w.Shown+" does not exist", "create it with `jotgate keygen`, or set create: true")
		return nil
	case err != nil:
		b.Fault(w.At, "the key file "+w.Shown+" cannot be read ("+yaml.Cause(err)+")", "let the gateway's user read it")
		return nil
	}
	key, err := jose.ParsePrivate(data)
	if err != nil {
		b.Fault(
			w.At,
			"the key file "+w.Shown+" holds no usable private key ("+err.Error()+")",
			"create one with `jotgate keygen`",
		)
		return nil
	}
	if why := key.Public().Expensive(); why != nil {
		b.Warn(w.At, "the key file "+w.Shown+" has "+why.Error()+": each of its signatures, forged ones too, takes much "+
			"longer to check", "use ES256, or a key of 2048 to 4096 bits with the exponent 65537")
	}
	b.guarded(w, path)
	return key
}

// guarded warns of a private key that others can read.
func (b *builder) guarded(w yaml.Setting[string], path string) {
	if !b.real {
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		b.Warn(
			w.At,
			fmt.Sprintf("the key file %s is readable by others (mode %04o)", w.Shown, info.Mode().Perm()),
			"chmod 600 it",
		)
	}
}

func (b *builder) standIn(at yaml.Place) *jose.PrivateKey {
	key, err := jose.Generate(newKeyAlgorithm)
	if err != nil {
		b.Fault(at, "cannot generate a key ("+err.Error()+")", "check the system's random source")
		return nil
	}
	return key
}
