package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/goreleaser/nfpm/v2"
	"github.com/goreleaser/nfpm/v2/deb"
	"github.com/goreleaser/nfpm/v2/files"
	"github.com/goreleaser/nfpm/v2/rpm"
)

// packages writes a .deb and a .rpm for each Linux platform.
func (r *release) packages(context.Context) error {
	for _, p := range r.platforms {
		if p.os != "linux" {
			continue
		}
		for format, packager := range map[string]nfpm.Packager{"deb": deb.Default, "rpm": rpm.DefaultRPM} {
			info, err := r.info(p)
			if err != nil {
				return err
			}
			info = nfpm.WithDefaults(info)
			if err := nfpm.PrepareForPackager(info, format); err != nil {
				return fmt.Errorf("%s %s: %w", format, p, err)
			}
			var b bytes.Buffer
			if err := packager.Package(info, &b); err != nil {
				return fmt.Errorf("%s %s: %w", format, p, err)
			}
			name := fmt.Sprintf("jotgate_%s_%s.%s", r.version, p.arch, format)
			if err := os.WriteFile(filepath.Join(r.out, name), b.Bytes(), 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// info is the contents of the packages.
func (r *release) info(p platform) (*nfpm.Info, error) {
	page, err := zipped(r.sharedFile("man/jotgate.1"))
	if err != nil {
		return nil, err
	}
	contents := files.Contents{}
	add := func(kind, name string, mode os.FileMode, source string) {
		contents = append(contents, &files.Content{
			Type: kind, Destination: name, Source: source,
			FileInfo: &files.ContentFileInfo{Owner: "root", Group: "root", Mode: mode, MTime: r.at},
		})
	}
	var written error
	text := func(kind, name string, data []byte) {
		source := filepath.Join(r.work, p.arch, filepath.FromSlash(name))
		if written == nil {
			written = os.MkdirAll(filepath.Dir(source), 0o755)
		}
		if written == nil {
			written = os.WriteFile(source, data, 0o644)
		}
		add(kind, name, 0o644, source)
	}
	deploy := func(name string) string { return filepath.Join(r.source, "deploy", name) }

	add("", "/usr/bin/jotgate", 0o755, r.binaries[p])
	add("config|noreplace", "/etc/jotgate/config.yaml", 0o644, deploy("package/config.yaml"))
	add("", "/usr/lib/systemd/system/jotgate.service", 0o644, deploy("systemd/jotgate.service"))
	add("", "/usr/lib/systemd/system/jotgate.socket", 0o644, deploy("systemd/jotgate.socket"))
	add("", "/usr/lib/sysusers.d/jotgate.conf", 0o644, deploy("systemd/jotgate.sysusers"))
	text("", "/usr/share/man/man1/jotgate.1.gz", page)
	text("", "/usr/share/bash-completion/completions/jotgate", r.sharedFile("completions/jotgate.bash"))
	text("", "/usr/share/zsh/vendor-completions/_jotgate", r.sharedFile("completions/_jotgate"))
	text("", "/usr/share/fish/vendor_completions.d/jotgate.fish", r.sharedFile("completions/jotgate.fish"))
	text("", "/usr/share/doc/jotgate/config.example.yaml", r.sharedFile("config.example.yaml"))
	text("", "/usr/share/doc/jotgate/copyright", r.sharedFile("LICENSE"))
	if written != nil {
		return nil, written
	}
	return &nfpm.Info{
		Name: "jotgate", Arch: p.arch, Platform: "linux", Version: r.version, Release: "1", Section: "net",
		Priority: "optional", Maintainer: "The Jotgate authors <jotgate@users.noreply.github.com>",
		Description: "JWT gate for HTTP apps\nHands out short-lived JWTs and lets through to an app only the requests\n" +
			"whose token carries the tenant permission that the route asks for.",
		Vendor: "Jotgate", Homepage: "https://github.com/jotgate/jotgate", License: "Apache-2.0", MTime: r.at,
		DisableGlobbing: true,
		Overridables: nfpm.Overridables{
			Contents: contents,
			Scripts: nfpm.Scripts{
				PostInstall: deploy("package/postinstall"), PreRemove: deploy("package/preremove"),
				PostRemove: deploy("package/postremove"),
			},
			RPM: nfpm.RPM{BuildHost: "localhost", Compression: "gzip:9", Summary: "JWT gate for HTTP apps"},
			Deb: nfpm.Deb{Compression: "gzip"},
		},
	}, nil
}

func zipped(text []byte) ([]byte, error) {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	err = z.Close()
	return b.Bytes(), err
}
