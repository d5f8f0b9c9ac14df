package main

import (
	"context"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// The part of CycloneDX 1.6 that is written.
type bom struct {
	Schema       string       `json:"$schema"`
	BOMFormat    string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	SerialNumber string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp"`
	Component component `json:"component"`
}

type component struct {
	Type     string    `json:"type"`
	BOMRef   string    `json:"bom-ref"`
	Name     string    `json:"name"`
	Version  string    `json:"version"`
	Scope    string    `json:"scope,omitempty"`
	Hashes   []hash    `json:"hashes,omitempty"`
	PURL     string    `json:"purl"`
	Licenses []license `json:"licenses,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// materials lists the modules that the linker put into the binaries, as each binary says itself, and the Go release.
func (r *release) materials(context.Context) error {
	modules := map[string]component{}
	var binaries []component
	for _, p := range r.platforms {
		info, err := buildinfo.ReadFile(r.binaries[p])
		if err != nil {
			return err
		}
		text, err := os.ReadFile(r.binaries[p])
		if err != nil {
			return err
		}
		sum := sha256.Sum256(text)
		name := "jotgate_" + p.os + "_" + p.arch
		binaries = append(binaries, component{
			Type: "file", BOMRef: "file:" + name, Name: name, Version: r.version,
			Hashes: []hash{{"SHA-256", hex.EncodeToString(sum[:])}}, PURL: r.purl() + "?goos=" + p.os + "&goarch=" + p.arch,
		})
		std := component{Type: "library", Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go"), Scope: "required"}
		std.PURL = "pkg:golang/std@" + std.Version
		std.BOMRef = std.PURL
		modules[std.PURL] = std
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			c := component{Type: "library", Name: m.Path, Version: m.Version, Scope: "required"}
			c.PURL = "pkg:golang/" + m.Path + "@" + m.Version
			c.BOMRef = c.PURL
			if sum, found := strings.CutPrefix(m.Sum, "h1:"); found {
				digest, err := base64.StdEncoding.DecodeString(sum)
				if err != nil {
					return fmt.Errorf("%s: %w", m.Path, err)
				}
				c.Hashes = []hash{{"SHA-256", hex.EncodeToString(digest)}}
			}
			modules[c.PURL] = c
		}
	}
	b := bom{
		Schema: "http://cyclonedx.org/schema/bom-1.6.schema.json", BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1,
		SerialNumber: "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL, []byte(r.purl()+"#"+r.revision)).String(),
		Metadata: metadata{Timestamp: r.at.Format(time.RFC3339), Component: component{
			Type: "application", BOMRef: r.purl(), Name: "jotgate", Version: r.version, PURL: r.purl(),
			Licenses: []license{apache()},
		}},
		Components: binaries,
	}
	refs := slices.Sorted(maps.Keys(modules))
	for _, ref := range refs {
		b.Components = append(b.Components, modules[ref])
	}
	b.Dependencies = []dependency{{Ref: r.purl(), DependsOn: refs}}
	text, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, "jotgate_"+r.version+".cdx.json"), append(text, '\n'), 0o644)
}

func (r *release) purl() string { return "pkg:golang/github.com/jotgate/jotgate@v" + r.version }

func apache() (l license) {
	l.License.ID = "Apache-2.0"
	return l
}
