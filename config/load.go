package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// Options say where a configuration finds what it refers to. The zero value is the process's own surroundings.
type Options struct {
	Env      func(name string) (value string, set bool) // nil: os.LookupEnv
	ReadFile func(path string) ([]byte, error)          // nil: os.ReadFile; a missing file's error is fs.ErrNotExist
	// in the order of their names; nil: os.ReadDir, or there is none beside a ReadFile
	ReadDir func(path string) ([]fs.DirEntry, error)
	// KeysElsewhere takes a throw-away key for every private key that cannot be read here. What those keys signed cannot
	// be verified then.
	KeysElsewhere bool
	// Sources is filled with what was read, whatever came of it; nil: Config.Sources alone tells. Nothing that ReadFile
	// gives is among them.
	Sources Sources
	// Before are the sources of the configuration in force. A key file that was among them and is gone is a fault, also
	// with create: true: moving files about does not ask for another key.
	Before Sources
}

// Load reads the file at path. It writes nothing: [Config.MissingKeys] lists the key files that are still to be
// created. The error is [Faults].
func Load(path string) (*Config, error) { return load(path, Options{}) }

// Peek reads the file at path as Load does, where its private keys are not at hand. What they signed cannot be
// verified.
func Peek(path string) (*Config, error) { return load(path, Options{KeysElsewhere: true}) }

// LoadWith reads the file at path as opts say.
func LoadWith(path string, opts Options) (*Config, error) { return load(path, opts) }

func load(path string, opts Options) (*Config, error) {
	if opts.Sources == nil {
		opts.Sources = Sources{}
	}
	data, err := opts.Sources.watched(os.ReadFile)(path)
	if err != nil {
		return nil, Faults{
			{
				File:    path,
				Problem: "cannot be read (" + yaml.Cause(err) + ")",
				Remedy:  "check the path of the configuration file",
			},
		}
	}
	return Parse(path, data, opts)
}

// Parse reads data as the configuration file called name; relative paths in it start at name's folder. The error is
// [Faults].
func Parse(name string, data []byte, opts Options) (*Config, error) {
	if opts.Sources == nil {
		opts.Sources = Sources{}
	}
	env, readFile, readDir := opts.Env, opts.ReadFile, opts.ReadDir
	if env == nil {
		env = os.LookupEnv
	}
	if readDir == nil && readFile == nil {
		readDir = opts.Sources.watchedFolders(os.ReadDir)
	} else if readDir == nil {
		readDir = func(path string) ([]fs.DirEntry, error) {
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}
	}
	if readFile == nil {
		readFile = opts.Sources.watched(os.ReadFile)
	}
	r := yaml.NewReader(
		yaml.Source{
			Name:     name,
			Env:      env,
			ReadFile: readFile,
			Begin:    "version: 1",
			Root:     Reference(),
			Synonyms: synonyms,
		},
	)
	root, ok := r.Document(data)
	if !ok {
		return nil, r.Faults()
	}
	written, sound := file().Read(r, root)
	if most := written.limits.ConfigBytes; sound && len(data) > most {
		r.Fault(yaml.Place{}, fmt.Sprintf("the file has %d bytes", len(data)),
			fmt.Sprintf("keep it within %d, or raise limits.config_bytes", most))
	}
	digest := sha256.Sum256(data)
	b := &builder{
		Reader: r, readDir: readDir, real: opts.ReadFile == nil, keysElsewhere: opts.KeysElsewhere, before: opts.Before,
		file:   &written,
		Config: &Config{File: name, Sources: opts.Sources, Digest: hex.EncodeToString(digest[:8]), Text: Secret(data)},
	}
	b.build()
	if r.Faulty() {
		return nil, r.Faults()
	}
	b.Config.Warnings = r.Warnings()
	b.Config.Said = r.Tree(root)
	return b.Config, nil
}

// A builder makes settings of what was read: it resolves names, compiles patterns, and checks what belongs together.
type builder struct {
	*yaml.Reader
	*Config
	file *writtenFile

	readDir       func(string) ([]fs.DirEntry, error)
	real          bool // files are the file system's, so that their modes can be asked for
	keysElsewhere bool
	before        Sources

	clients clientIndex // of issuer.clients, as far as they are built
}

// build goes from what others refer to, to what refers to it.
func (b *builder) build() {
	b.Limits, b.Log, b.Drain, b.ClockLeeway = b.file.limits.Limits, b.file.log, b.file.drain, b.file.clockLeeway
	b.Watch, b.DenyWidening = b.file.watch, b.file.reload.denyWidening
	b.TenantPattern = anchored("[A-Za-z0-9._~-]{1,64}")
	if p := b.file.tenantPattern; p.Usable() {
		b.TenantPattern = anchored(p.Value)
	}
	b.buildTracing()
	b.buildTrustedProxies()
	b.buildListeners()
	b.buildAdmin()
	b.buildDecision()
	b.buildIdentityHeaders()
	b.TokenFrom = b.buildTokenFrom(b.file.tokenFrom)
	b.ClaimHeaders = b.buildClaimHeaders(b.file.claimHeaders, nil)
	b.CORS = b.buildCORS(b.file.cors)
	b.buildRoles()
	b.buildIssuer()
	b.buildTrustedIssuers()
	b.buildDPoP()
	b.buildReplay()
	b.buildRedis()
	b.buildShared()
	b.buildUpstreams()
	b.buildRoutes()
	b.checkWorkloads()
	b.checkLogout()
	b.buildTickets()
	b.lintClaimHeaders()
	b.buildTests()
	b.lint()
}
