package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// archives writes one for each platform: the binary and what is shared, in a folder of the archive's name.
func (r *release) archives(context.Context) error {
	for _, p := range r.platforms {
		binary, err := os.ReadFile(r.binaries[p])
		if err != nil {
			return err
		}
		name := fmt.Sprintf("jotgate_%s_%s_%s", r.version, p.os, p.arch)
		files := []file{{name + "/jotgate", 0o755, binary}}
		for _, f := range r.shared {
			files = append(files, file{name + "/" + f.name, f.mode, f.text})
		}
		var packed bytes.Buffer
		z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		if err != nil {
			return err
		}
		text, err := tarballOf(files, r.at)
		if err != nil {
			return err
		}
		if _, err := z.Write(text); err != nil {
			return err
		}
		if err := z.Close(); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.out, name+".tar.gz"), packed.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// tarballOf is a tar of files that belong to root, all of one time. A name that ends in / is a folder.
func tarballOf(files []file, at time.Time) ([]byte, error) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, f := range files {
		h := &tar.Header{
			Name: f.name, Mode: f.mode, Size: int64(len(f.text)), ModTime: at, Typeflag: tar.TypeReg,
			Format: tar.FormatPAX,
		}
		if f.name[len(f.name)-1] == '/' {
			h.Typeflag = tar.TypeDir
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, err
		}
	}
	err := w.Close()
	return b.Bytes(), err
}
