package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jotgate/jotgate/internal/jose"
)

// newKeyAlgorithm is what a key that we make is for: fast to sign with, and known to every client.
const newKeyAlgorithm = "ES256"

// A missingKey is a key file that is to be made once the whole file is known to be good.
type missingKey struct {
	index int // in issuer.keys
	at    place
	path  string
}

func (b *builder) buildKeys(w []setting[writtenKey]) {
	seen := map[string]string{}
	for i, k := range b.signingFirst(b.withFolders(w)) {
		if k.bad {
			continue
		}
		path := b.resolve(k.Value.file.Value)
		key := b.loadKey(k, path, i)
		b.Issuer.Keys = append(b.Issuer.Keys, key)
		if key == nil {
			continue
		}
		if first, twice := seen[key.ID()]; twice {
			b.fault(k.Value.file.at, k.Value.file.shown+" has the kid of "+first, "list each key once, and give each its own kid")
		}
		seen[key.ID()] = k.Value.file.shown
	}
}

// signingFirst puts the key that signs before the others: the current one, or else the first that is neither next nor
// retired. So a rotation is three edits, each with a reload between: list the new key as next, so that every verifier
// hears of it; make it current and the old one retired; remove the old one when its tokens have ended.
func (b *builder) signingFirst(w []setting[writtenKey]) []setting[writtenKey] {
	signing, named := -1, false
	for i, k := range w {
		switch state := k.Value.state; {
		case state.bad:
		case state.given && state.Value == keyCurrent && named:
			b.fault(state.at, "is the second current key", "one key signs: make the other retired, or next")
		case state.given && state.Value == keyCurrent:
			signing, named = i, true
		case !state.given && signing < 0:
			signing = i
		}
	}
	if len(w) > 0 && signing < 0 {
		b.fault(w[0].at, "does not sign, nor does any other key", "make one of the keys current")
	}
	if signing <= 0 {
		return w
	}
	ordered := append([]setting[writtenKey]{w[signing]}, w[:signing]...)
	return append(ordered, w[signing+1:]...)
}

func (b *builder) loadKey(k setting[writtenKey], path string, index int) *jose.PrivateKey {
	w := k.Value.file
	data, err := b.readFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && k.Value.create.Value && b.before.had(path):
		b.fault(w.at, "the key file "+w.shown+" is gone, and was in use", "put it back; to have another one made, reload with SIGHUP or `jotgate reload`")
		return nil
	case errors.Is(err, fs.ErrNotExist) && k.Value.create.Value:
		b.missing = append(b.missing, missingKey{index, w.at, path})
		return b.standIn(w.at)
	case err != nil && b.keysElsewhere:
		return b.standIn(w.at)
	case errors.Is(err, fs.ErrNotExist):
		b.fault(w.at, "the key file "+w.shown+" does not exist", "make it with `jotgate keygen`, or write create: true beside it")
		return nil
	case err != nil:
		b.fault(w.at, "the key file "+w.shown+" cannot be read ("+cause(err)+")", "let the gateway's user read it")
		return nil
	}
	key, err := jose.ParsePrivate(data)
	if err != nil {
		b.fault(w.at, "the key file "+w.shown+" holds no key to sign with ("+err.Error()+")", "make one with `jotgate keygen`")
		return nil
	}
	b.guarded(w, path)
	return key
}

// guarded warns of a private key that others can read.
func (b *builder) guarded(w setting[string], path string) {
	if !b.real {
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o077 != 0 {
		b.warn(w.at, fmt.Sprintf("the key file %s can be read by others (mode %04o)", w.shown, info.Mode().Perm()), "chmod 600 it")
	}
}

func (b *builder) standIn(at place) *jose.PrivateKey {
	key, err := jose.Generate(newKeyAlgorithm)
	if err != nil {
		b.fault(at, "no key can be made ("+err.Error()+")", "see that the system has randomness")
		return nil
	}
	return key
}

// createKeys makes the missing key files and puts what is in them then, ours or that of a process that was faster, in
// the stand-ins' place.
func (b *builder) createKeys() {
	for _, m := range b.missing {
		key, err := createKey(m.path, b.Issuer.Keys[m.index])
		if err != nil {
			b.fault(m.at, "the key file cannot be made ("+cause(err)+")", "let the gateway's user write to its folder, or make the key with `jotgate keygen`")
			continue
		}
		b.Issuer.Keys[m.index] = key
		b.sources[m.path] = digest(m.path)
	}
}

// createKey writes key to path, unless the file is there by now, and gives the key that the file holds. The file
// appears whole or not at all (written beside, then linked, which never replaces), and is on the disk before it is used.
func createKey(path string, key *jose.PrivateKey) (*jose.PrivateKey, error) {
	folder := filepath.Dir(path)
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, err
	}
	text, err := key.MarshalPEM()
	if err != nil {
		return nil, err
	}
	beside, err := os.CreateTemp(folder, ".key-*") // O_EXCL and mode 0600 by its contract
	if err != nil {
		return nil, err
	}
	defer os.Remove(beside.Name())
	if err := writeWhole(beside, text); err != nil {
		return nil, err
	}
	if err := os.Link(beside.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := syncFolder(folder); err != nil {
		return nil, err
	}
	held, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return jose.ParsePrivate(held)
}

func writeWhole(f *os.File, text []byte) error {
	_, err := f.Write(text)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncFolder(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
