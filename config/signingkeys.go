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
		if key == nil {
			continue
		}
		if first, twice := seen[key.ID()]; twice {
			b.Fault(k.Value.file.At, k.Value.file.Shown+" has the kid of "+first, "list each key once, and give each its own kid")
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
			b.Fault(state.At, "is the second current key", "one key signs: make the other retired, or next")
		case state.Given && state.Value == keyCurrent:
			signing, named = i, true
		case !state.Given && signing < 0:
			signing = i
		}
	}
	if len(w) > 0 && signing < 0 {
		b.Fault(w[0].At, "does not sign, nor does any other key", "make one of the keys current")
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
		b.Fault(w.At, "the key file "+w.Shown+" is gone, and was in use", "put it back; to have another one made, reload with SIGHUP or `jotgate reload`")
		return nil
	case errors.Is(err, fs.ErrNotExist) && k.Value.create.Value:
		b.MissingKeys = append(b.MissingKeys, MissingKey{Path: path, Index: index, fault: b.Note(w.At, "", "")})
		return b.standIn(w.At)
	case err != nil && b.keysElsewhere:
		return b.standIn(w.At)
	case errors.Is(err, fs.ErrNotExist):
		b.Fault(w.At, "the key file "+w.Shown+" does not exist", "make it with `jotgate keygen`, or write create: true beside it")
		return nil
	case err != nil:
		b.Fault(w.At, "the key file "+w.Shown+" cannot be read ("+yaml.Cause(err)+")", "let the gateway's user read it")
		return nil
	}
	key, err := jose.ParsePrivate(data)
	if err != nil {
		b.Fault(w.At, "the key file "+w.Shown+" holds no key to sign with ("+err.Error()+")", "make one with `jotgate keygen`")
		return nil
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
		b.Warn(w.At, fmt.Sprintf("the key file %s can be read by others (mode %04o)", w.Shown, info.Mode().Perm()), "chmod 600 it")
	}
}

func (b *builder) standIn(at yaml.Place) *jose.PrivateKey {
	key, err := jose.Generate(newKeyAlgorithm)
	if err != nil {
		b.Fault(at, "no key can be made ("+err.Error()+")", "see that the system has randomness")
		return nil
	}
	return key
}
