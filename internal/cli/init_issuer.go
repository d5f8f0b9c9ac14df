package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jotgate/jotgate/config"
	"github.com/jotgate/jotgate/internal/keysets"
)

// discoveryTimeout bounds the fetch of an issuer's metadata.
const discoveryTimeout = 10 * time.Second

// trustedInitial is what the template of --issuer fills in.
type trustedInitial struct {
	initial
	Issuer, Pattern, JWKS, Audience string
	Preset, Tenants, Roles          string
	PerTenant                       bool
}

// trustedFiles makes the config of a gate that trusts another issuer. from is its URL, whose metadata is fetched once,
// or @FILE, which holds it.
func trustedFiles(ctx context.Context, o initial, from, audience string) ([]newFile, error) {
	var m keysets.Metadata
	var err error
	if file, saved := strings.CutPrefix(from, "@"); saved {
		text, readErr := os.ReadFile(file)
		if readErr != nil {
			return nil, readErr
		}
		if m, err = keysets.ParseMetadata(text); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
	} else {
		ctx, cancel := context.WithTimeout(ctx, discoveryTimeout)
		defer cancel()
		if m, err = keysets.Discover(ctx, from); err != nil {
			return nil, fmt.Errorf("--issuer %s: %w; with a saved document: --issuer @FILE", from, err)
		}
	}
	switch {
	case m.Issuer == "":
		return nil, errors.New("the metadata names no issuer")
	case unquotable(m.Issuer + m.JWKSURI + audience):
		return nil, errors.New("the metadata, or --audience, has characters that no URL has")
	}
	t := trustedInitial{
		initial: o, Issuer: m.Issuer, Audience: cmp.Or(audience, "api"),
		Preset: config.PresetFor(m.Issuer),
	}
	t.Tenants, t.Roles = "tenant", "roles"
	presets := config.Presets()
	if i := slices.IndexFunc(presets, func(p config.Preset) bool { return p.Name == t.Preset }); i >= 0 {
		p := presets[i]
		t.Tenants, t.Roles, t.PerTenant = cmp.Or(p.Tenants, t.Tenants), cmp.Or(p.Roles, t.Roles), p.RolesPerTenant
	}
	if strings.Contains(m.Issuer, "{tenantid}") { // Microsoft Entra's common endpoints
		t.Pattern, t.JWKS = strings.ReplaceAll(m.Issuer, "{tenantid}", "{tid}"), m.JWKSURI
	}
	if !strings.HasPrefix(m.Issuer, "https://") && !strings.HasPrefix(m.Issuer, "http://") { // nowhere to discover
		t.JWKS = m.JWKSURI
	}
	text, err := initialConfig("trusted", t)
	if err != nil {
		return nil, err
	}
	return []newFile{{"config.yaml", 0o644, text}, {".gitignore", 0o644, []byte(ignored)}}, nil
}

// unquotable reports whether a text would end a quoted YAML string, or be expanded in it.
func unquotable(text string) bool {
	return strings.ContainsFunc(text, func(c rune) bool {
		return c <= ' ' || c > '~' ||
			strings.ContainsRune("\"\\$`", c)
	})
}
