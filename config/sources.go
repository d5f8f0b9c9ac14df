package config

import (
	"crypto/sha256"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// Sources are the files and folders that a configuration was read from, by path, each with a digest of what was in it:
// a file that was touched, or replaced by an equal one, has not changed. A file that could not be read is among them,
// since it may be there later.
type Sources map[string]string

// Changed lists those that are no longer as they were, in order.
func (s Sources) Changed() []string {
	var all []string
	for _, path := range slices.Sorted(maps.Keys(s)) {
		if s[path] != digest(path) {
			all = append(all, path)
		}
	}
	return all
}

// Record notes what is at path now.
func (s Sources) Record(path string) { s[path] = digest(path) }

// had reports whether there was something to read at path.
func (s Sources) had(path string) bool {
	state, known := s[path]
	return known && len(state) == sha256.Size
}

// Pipes and devices give other bytes each time, or none at all until somebody writes: they are read once, and never
// watched.
const neither = "neither a file nor a folder"

// digest says what is at path: a digest, or why there is none.
func digest(path string) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return yaml.Cause(err)
	case info.IsDir():
		entries, err := os.ReadDir(path)
		return digestOf(listed(entries), err)
	case !info.Mode().IsRegular():
		return neither
	}
	file, err := os.Open(path)
	if err != nil {
		return yaml.Cause(err)
	}
	defer file.Close() // read only
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return yaml.Cause(err)
	}
	return string(sum.Sum(nil))
}

func digestOf(data []byte, err error) string {
	if err != nil {
		return yaml.Cause(err)
	}
	sum := sha256.Sum256(data)
	return string(sum[:])
}

// listed is what counts of a folder: which names it has. A name cannot hold a zero byte.
func listed(entries []fs.DirEntry) (names []byte) {
	for _, e := range entries {
		names = append(append(names, e.Name()...), 0)
	}
	return names
}

// watched reads as read does, and remembers what was read.
func (s Sources) watched(read func(string) ([]byte, error)) func(string) ([]byte, error) {
	return func(path string) ([]byte, error) {
		data, err := read(path)
		s.read(path, data, err)
		return data, err
	}
}

// watchedFolders does the same for folders.
func (s Sources) watchedFolders(read func(string) ([]fs.DirEntry, error)) func(string) ([]fs.DirEntry, error) {
	return func(path string) ([]fs.DirEntry, error) {
		entries, err := read(path)
		s[path] = digestOf(listed(entries), err)
		return entries, err
	}
}

func (s Sources) read(path string, data []byte, err error) {
	s[path] = digestOf(data, err)
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		s[path] = digest(path)
	}
}
