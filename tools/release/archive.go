package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/flate"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// archives writes one for each platform: the binary and what is shared, in a folder of the archive's name. Windows gets
// a zip, which it opens without a tool.
func (r *release) archives(context.Context) error {
	for _, p := range r.platforms {
		binary, err := os.ReadFile(r.binaries[p])
		if err != nil {
			return err
		}
		name := fmt.Sprintf("jotgate_%s_%s_%s", r.version, p.os, p.arch)
		files := []file{{name + "/" + p.binary(), 0o755, binary}}
		for _, f := range r.shared {
			files = append(files, file{name + "/" + f.name, f.mode, f.text})
		}
		pack, ending := tarGzOf, ".tar.gz"
		if p.os == "windows" {
			pack, ending = zipOf, ".zip"
		}
		packed, err := pack(files, r.at)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(r.out, name+ending), packed, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func tarGzOf(files []file, at time.Time) ([]byte, error) {
	text, err := tarballOf(files, at)
	if err != nil {
		return nil, err
	}
	var packed bytes.Buffer
	z, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(text); err != nil {
		return nil, err
	}
	err = z.Close()
	return packed.Bytes(), err
}

// zipOf is a zip of files, all of one time.
func zipOf(files []file, at time.Time) ([]byte, error) {
	var packed bytes.Buffer
	z := zip.NewWriter(&packed)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) {
		return flate.NewWriter(w, flate.BestCompression)
	})
	for _, f := range files {
		h := &zip.FileHeader{Name: f.name, Method: zip.Deflate, Modified: at.UTC()}
		h.SetMode(os.FileMode(f.mode))
		w, err := z.CreateHeader(h)
		if err != nil {
			return nil, err
		}
		if _, err := w.Write(f.text); err != nil {
			return nil, err
		}
	}
	err := z.Close()
	return packed.Bytes(), err
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
