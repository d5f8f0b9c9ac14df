package config

import (
	"crypto/sha256"
	"encoding/hex"
	"io/fs"
	"os"
)

// Options say where a configuration finds what it refers to. The zero value is the process's own surroundings.
type Options struct {
	Env      func(name string) (value string, set bool) // nil: os.LookupEnv
	ReadFile func(path string) ([]byte, error)          // nil: os.ReadFile; a missing file's error is fs.ErrNotExist
	ReadDir  func(path string) ([]fs.DirEntry, error)   // in the order of their names; nil: os.ReadDir, or there is none beside a ReadFile
	// NoCreate leaves missing key files with create: true as they are; a key that lives as long as the Config stands in.
	NoCreate bool
	// KeysElsewhere does the same for every private key that cannot be read here. What those keys signed is then unknown.
	KeysElsewhere bool
	// Sources is filled with what was read, whatever came of it; nil: Config.Sources alone tells. Nothing that ReadFile
	// gives is among them.
	Sources Sources
	// Before are the sources of the configuration in force. A key file that was among them and is gone is a fault, also with
	// create: true: whoever moves files about is not asking for another key.
	Before Sources
}

// Load reads the file at path and makes the key files that it says to create. A file with faults makes none. The error
// is [Faults].
func Load(path string) (*Config, error) { return load(path, Options{}) }

// Check reads the file at path as Load does, but writes nothing.
func Check(path string) (*Config, error) { return load(path, Options{NoCreate: true}) }

// Peek reads the file at path as Check does, where its private keys are not at hand. What they signed cannot be verified.
func Peek(path string) (*Config, error) {
	return load(path, Options{NoCreate: true, KeysElsewhere: true})
}

// LoadWith reads the file at path as opts say.
func LoadWith(path string, opts Options) (*Config, error) { return load(path, opts) }

func load(path string, opts Options) (*Config, error) {
	if opts.Sources == nil {
		opts.Sources = Sources{}
	}
	data, err := opts.Sources.watched(os.ReadFile)(path)
	if err != nil {
		return nil, Faults{{File: path, Problem: "cannot be read (" + cause(err) + ")", Remedy: "name a configuration file"}}
	}
	return Parse(path, data, opts)
}

// Parse reads data as the configuration file called name; relative paths in it start at name's folder. The error is
// [Faults].
func Parse(name string, data []byte, opts Options) (*Config, error) {
	if opts.Sources == nil {
		opts.Sources = Sources{}
	}
	r := &reader{file: name, env: opts.Env, readFile: opts.ReadFile, real: opts.ReadFile == nil, sources: opts.Sources}
	if r.env == nil {
		r.env = os.LookupEnv
	}
	if r.readFile == nil {
		r.readFile = r.sources.watched(os.ReadFile)
		r.readDir = r.sources.watchedFolders(os.ReadDir)
	}
	if opts.ReadDir != nil {
		r.readDir = opts.ReadDir
	} else if r.readDir == nil {
		r.readDir = func(path string) ([]fs.DirEntry, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
	}
	root, ok := r.document(data)
	if !ok {
		return nil, inOrder(r.faults)
	}
	written, _ := file().read(r, root)
	digest := sha256.Sum256(data)
	b := &builder{reader: r, file: &written, Config: &Config{File: name, Sources: opts.Sources, Digest: hex.EncodeToString(digest[:8])}, keysElsewhere: opts.KeysElsewhere, before: opts.Before}
	b.build()
	if len(r.faults) == 0 && !opts.NoCreate {
		b.createKeys()
	}
	if len(r.faults) > 0 {
		return nil, inOrder(r.faults)
	}
	b.Warnings = inOrder(r.warnings)
	return b.Config, nil
}

// A builder makes settings of what was read: it resolves names, compiles patterns, and checks what belongs together.
type builder struct {
	*reader
	*Config
	file    *writtenFile
	missing []missingKey

	keysElsewhere bool
	before        Sources
}

// build goes from what others refer to, to what refers to it.
func (b *builder) build() {
	b.Limits, b.Log, b.Drain, b.ClockLeeway = b.file.limits.Limits, b.file.log, b.file.drain, b.file.clockLeeway
	b.Watch = b.file.watch
	b.TenantPattern = anchored("[A-Za-z0-9._~-]{1,64}")
	if p := b.file.tenantPattern; p.usable() {
		b.TenantPattern = anchored(p.Value)
	}
	b.buildTracing()
	b.buildListeners()
	b.buildAdmin()
	b.buildTrustedProxies()
	b.buildIdentityHeaders()
	b.buildRoles()
	b.buildIssuer()
	b.buildTrustedIssuers()
	b.buildDPoP()
	b.buildReplay()
	b.buildRedis()
	b.buildShared()
	b.buildUpstreams()
	b.buildRoutes()
	b.buildTests()
	b.lint()
}
