// Package keyfile creates the private key files that a configuration asks for with create: true. It is called where a
// gate starts, reloads or mints; reading a configuration creates nothing.
package keyfile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/jose"
	"github.com/jotgate/jotgate/internal/strictyaml"
)

// Create writes the key files that c lacks and puts the keys that they hold then into c: ours, or those of a process
// that was faster. The error is [config.Faults]; files that were created before it stay.
func Create(c *config.Config) error {
	var faults config.Faults
	for _, m := range c.MissingKeys {
		key, err := create(m.Path, c.Issuer.Keys[m.Index])
		if err != nil {
			faults = append(faults, m.Fault("the key file cannot be created ("+strictyaml.Cause(err)+")",
				"let the gateway's user write to its folder, or create the key with `jotgate keygen`"))
			continue
		}
		c.Issuer.Keys[m.Index] = key
		c.Sources.Record(m.Path)
	}
	if len(faults) > 0 {
		return faults
	}
	c.MissingKeys = nil
	return nil
}

// Load reads the configuration file at path and creates the key files that it lacks. A file with faults creates none.
func Load(path string) (*config.Config, error) {
	c, err := config.Load(path)
	if err != nil {
		return nil, err
	}
	if err := Create(c); err != nil {
		return nil, err
	}
	return c, nil
}

// create writes key to path, unless the file is there by now, and gives the key that the file holds. The file
// appears whole or not at all (written beside, then linked, which never replaces), and is on the disk before it is
// used.
func create(path string, key *jose.PrivateKey) (*jose.PrivateKey, error) {
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
