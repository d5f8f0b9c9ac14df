package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is the image's, as the Dockerfile has it.
const user = "65532:65532"

// image writes the container image as OCI layouts, without an engine: one for all Linux platforms, and one for each,
// which also has the manifest.json of `docker save`.
func (r *release) image(context.Context) error {
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, p := range r.platforms {
		if p.os != "linux" {
			continue
		}
		img, err := r.platformImage(p)
		if err != nil {
			return err
		}
		at := v1.Descriptor{Platform: &v1.Platform{OS: p.os, Architecture: p.arch}}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: at})
		one := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
			mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: at.Platform, Annotations: r.refName()}})
		name := fmt.Sprintf("jotgate_%s_image_linux_%s.tar", r.version, p.arch)
		if err := r.writeLayout(name, one, img); err != nil {
			return err
		}
	}
	all := mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex),
		mutate.IndexAddendum{Add: index, Descriptor: v1.Descriptor{Annotations: r.refName()}})
	return r.writeLayout(fmt.Sprintf("jotgate_%s_image.tar", r.version), all, nil)
}

func (r *release) tag() string { return strings.ReplaceAll(r.version, "+", "-") }

// refName names the image for the tools that load a layout.
func (r *release) refName() map[string]string {
	return map[string]string{
		"org.opencontainers.image.ref.name": r.tag(), "io.containerd.image.name": "docker.io/library/jotgate:" + r.tag(),
	}
}

// platformImage is one image: an empty root with the binary, the root certificates and a folder for the config.
func (r *release) platformImage(p platform) (v1.Image, error) {
	binary, err := os.ReadFile(r.binaries[p])
	if err != nil {
		return nil, err
	}
	// Folders of the system come first; what the image's user owns is in no layer, so that a read-only root works.
	text, err := tarballOf([]file{
		{"etc/", 0o755, nil},
		{"etc/jotgate/", 0o755, nil},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, certificates()},
		{"etc/passwd", 0o644, []byte("jotgate:x:65532:65532:jotgate:/:/sbin/nologin\n")},
		{"etc/group", 0o644, []byte("jotgate:x:65532:\n")},
		{"jotgate", 0o755, binary},
	}, r.at)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(text)),
			nil
	},
		tarball.WithMediaType(types.OCILayer), tarball.WithCompressionLevel(9))
	if err != nil {
		return nil, err
	}
	base := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err := mutate.Append(base, mutate.Addendum{
		Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: v1.Time{Time: r.at}, CreatedBy: "make release", Comment: "jotgate " + r.version},
	})
	if err != nil {
		return nil, err
	}
	return mutate.ConfigFile(img, r.imageConfig(p, img))
}

func (r *release) imageConfig(p platform, img v1.Image) *v1.ConfigFile {
	had, err := img.ConfigFile()
	if err != nil {
		panic(err) // it was made in memory
	}
	c := had.DeepCopy()
	c.OS, c.Architecture, c.Created = p.os, p.arch, v1.Time{Time: r.at}
	c.Config = v1.Config{
		User: user, Entrypoint: []string{"/jotgate"}, Env: []string{"JOTGATE_CONFIG=/etc/jotgate/config.yaml"},
		WorkingDir: "/", ExposedPorts: map[string]struct{}{"8080/tcp": {}},
		Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD", "/jotgate", "healthcheck"}, Interval: 10 * time.Second, Timeout: 3 * time.Second,
			StartPeriod: 5 * time.Second, Retries: 3,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":       "jotgate",
			"org.opencontainers.image.description": "JWT gate for HTTP apps",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.source":      "https://github.com/jotgate/jotgate",
			"org.opencontainers.image.version":     r.version,
			"org.opencontainers.image.revision":    r.revision,
			"org.opencontainers.image.created":     r.at.Format(time.RFC3339),
		},
	}
	return c
}

// certificates are Mozilla's roots, pinned by this module's go.sum. Those with constraints that PEM cannot carry are
// left out.
func certificates() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			b.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	return b.Bytes()
}

// writeLayout writes a layout as one tar, its names in order. With a single image it has a manifest.json, too.
func (r *release) writeLayout(name string, index v1.ImageIndex, single v1.Image) error {
	folder := filepath.Join(r.work, name)
	if _, err := layout.Write(folder, index); err != nil {
		return err
	}
	if single != nil {
		if err := r.dockerManifest(folder, single); err != nil {
			return err
		}
	}
	var files []file
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == folder {
			return err
		}
		inside := filepath.ToSlash(strings.TrimPrefix(path, folder+string(filepath.Separator)))
		if d.IsDir() {
			files = append(files, file{inside + "/", 0o755, nil})
			return nil
		}
		text, err := os.ReadFile(path)
		files = append(files, file{inside, 0o644, text})
		return err
	})
	if err != nil {
		return err
	}
	slices.SortFunc(files, func(a, b file) int { return strings.Compare(a.name, b.name) })
	text, err := tarballOf(files, r.at)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(r.out, name), text, 0o644)
}

// dockerManifest writes what engines without support for OCI layouts read.
func (r *release) dockerManifest(folder string, img v1.Image) error {
	m, err := img.Manifest()
	if err != nil {
		return err
	}
	blob := func(h v1.Hash) string { return "blobs/" + h.Algorithm + "/" + h.Hex }
	var layers []string
	for _, l := range m.Layers {
		layers = append(layers, blob(l.Digest))
	}
	text, err := json.Marshal([]struct {
		Config   string
		RepoTags []string
		Layers   []string
	}{{blob(m.Config.Digest), []string{"jotgate:" + r.tag()}, layers}})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "manifest.json"), text, 0o644)
}
