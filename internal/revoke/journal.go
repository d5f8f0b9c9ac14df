package revoke

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"unsafe"
)

// header is the journal's first line; it names the format, so that a later one can tell the difference.
const header = "jotgate revocations 1\n"

// recordBytes bounds one line: an issuer, a value and a client, each bounded where it came in.
const recordBytes = 64 << 10

// A record is one line of the journal: its checksum (CRC-32C of the JSON, eight hex digits), a space, the JSON.
type record struct {
	Kind   string `json:"kind"`             // token, or a Kind
	Issuer string `json:"iss"`              //
	Value  string `json:"value"`            // the jti, or what is marked
	Client string `json:"client,omitempty"` // who revoked it
	At     int64  `json:"at"`               // ms: the token's end, or the mark
	// Undo takes the mark back. A version that does not know it reads the mark again, and revokes too much.
	Undo bool `json:"undo,omitempty"`
	// When is, for a mark in a shared store, the store's time in ms at which it was set or undone: the latest word counts.
	When int64 `json:"-"`
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (r record) line() ([]byte, error) {
	body, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	if len(body) > recordBytes-16 {
		return nil, fmt.Errorf("record of %d bytes: want at most %d", len(body), recordBytes-16)
	}
	return fmt.Appendf(nil, "%08x %s\n", crc32.Checksum(body, castagnoli), body), nil
}

func parseRecord(line []byte) (record, error) {
	sum, body, found := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
	want, err := strconv.ParseUint(string(sum), 16, 32)
	if !found || len(sum) != 8 || err != nil || crc32.Checksum(body, castagnoli) != uint32(want) {
		return record{}, errors.New("checksum does not match")
	}
	if r, ok := parseToken(body); ok {
		return r, nil
	}
	var r record
	if err := json.Unmarshal(body, &r); err != nil {
		return r, err
	}
	return r, nil
}

// parseToken reads what line wrote for a token, where nothing in it is escaped: a start with a million of them is to be
// quick. The strings of the record are body's own memory. It reports false for any other text.
func parseToken(body []byte) (r record, ok bool) {
	for _, c := range body {
		if c < ' ' || c > '~' || c == '\\' {
			return r, false
		}
	}
	rest, ok := strings.CutPrefix(unsafe.String(unsafe.SliceData(body), len(body)), `{"kind":"token","iss":"`)
	if !ok {
		return r, false
	}
	r.Kind = "token"
	if r.Issuer, rest, ok = strings.Cut(rest, `"`); !ok {
		return r, false
	}
	if rest, ok = strings.CutPrefix(rest, `,"value":"`); !ok {
		return r, false
	}
	if r.Value, rest, ok = strings.Cut(rest, `"`); !ok {
		return r, false
	}
	if with, has := strings.CutPrefix(rest, `,"client":"`); has {
		if r.Client, rest, ok = strings.Cut(with, `"`); !ok {
			return r, false
		}
	}
	if rest, ok = strings.CutPrefix(rest, `,"at":`); !ok {
		return r, false
	}
	if rest, ok = strings.CutSuffix(rest, "}"); !ok {
		return r, false
	}
	at, err := strconv.ParseInt(rest, 10, 64)
	r.At = at
	return r, err == nil && (rest[0] == '-' || '1' <= rest[0] && rest[0] <= '9' || rest == "0")
}

// A journal is an append-only file of records, held by one process.
type journal struct {
	path    string
	file    *os.File
	end     int64 // where the next record goes: behind the last one that is whole
	records int
	broken  error // set when the file's state is no longer known; nothing is appended after that
}

// ErrHeld means that another process, most likely the gate, has the journal open.
var ErrHeld = errors.New("held by another process")

// openJournal reads path, creating it if it is missing, and calls apply for each record. What follows the last whole
// line is a write that a crash cut short: it was never answered, and is cut off; torn is its length. A bad record
// elsewhere is damage, and an error: going on without it could open what was revoked.
func openJournal(path string, apply func(record)) (j *journal, torn int64, err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, 0, fmt.Errorf("revocations: %w", err)
	}
	j = &journal{path: path, file: file}
	defer func() {
		if err != nil {
			_ = file.Close()
		}
	}()
	if err := lock(file); err != nil {
		return nil, 0, fmt.Errorf("revocations: %s: %w", path, ErrHeld)
	}
	info, err := file.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("revocations: %w", err)
	}
	if named, err := os.Stat(path); err != nil || !os.SameFile(info, named) {
		// Its holder rewrote it between our open and our lock.
		return nil, 0, fmt.Errorf("revocations: %s: %w", path, ErrHeld)
	}
	if err := j.read(apply); err != nil {
		return nil, 0, fmt.Errorf("revocations: %s: %w", path, err)
	}
	torn = info.Size() - j.end
	if j.end == 0 { // new, or torn within its first line
		if err := j.start(); err != nil {
			return nil, 0, fmt.Errorf("revocations: %s: %w", path, err)
		}
		return j, torn, nil
	}
	if torn > 0 {
		if err := errors.Join(file.Truncate(j.end), file.Sync()); err != nil {
			return nil, 0, fmt.Errorf("revocations: %s: cut torn tail: %w", path, err)
		}
	}
	return j, torn, nil
}

func (j *journal) start() error {
	if err := j.file.Truncate(0); err != nil {
		return err
	}
	if _, err := j.file.WriteAt([]byte(header), 0); err != nil {
		return err
	}
	j.end = int64(len(header))
	return errors.Join(j.file.Sync(), syncFolder(j.path))
}

func (j *journal) read(apply func(record)) error {
	lines := bufio.NewReaderSize(j.file, recordBytes)
	for n := 1; ; n++ {
		line, err := lines.ReadSlice('\n')
		if errors.Is(err, io.EOF) {
			// No newline: torn. A head that is no prefix of ours is somebody else's file, which must not be cut.
			if n == 1 && !bytes.HasPrefix([]byte(header), line) {
				return errors.New("line 1: not a journal of revocations")
			}
			return nil
		}
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if n == 1 {
			if string(line) != header {
				return errors.New("line 1: not a journal of revocations of version 1")
			}
		} else {
			r, err := parseRecord(line)
			if err != nil {
				if _, peek := lines.Peek(1); errors.Is(peek, io.EOF) {
					return nil // the last line: its blocks reached the disk out of order
				}
				return fmt.Errorf("line %d: %w; the file is damaged: restore it, or move it away to start anew "+
					"(every revocation in it is then forgotten)", n, err)
			}
			apply(r)
			j.records++
		}
		j.end += int64(len(line))
	}
}

// append writes a record and waits until it is on the disk.
func (j *journal) append(r record) error {
	if j.broken != nil {
		return j.broken
	}
	line, err := r.line()
	if err != nil {
		return err
	}
	_, err = j.file.WriteAt(line, j.end)
	if err == nil {
		err = j.file.Sync()
	}
	if err != nil {
		// What part of the line the disk has is unknown. Cut it off; if even that fails, nothing is written any more.
		if cut := errors.Join(j.file.Truncate(j.end), j.file.Sync()); cut != nil {
			j.broken = fmt.Errorf("journal %s is in an unknown state, restart needed: %w", j.path, cut)
		}
		return err
	}
	j.end += int64(len(line))
	j.records++
	return nil
}

// rewrite replaces the journal by one that holds just these records, atomically.
func (j *journal) rewrite(records iter.Seq[record]) error {
	if j.broken != nil {
		return j.broken
	}
	temp, err := os.CreateTemp(filepath.Dir(j.path), filepath.Base(j.path)+".*.tmp")
	if err != nil {
		return err
	}
	fail := func(err error) error { return errors.Join(err, temp.Close(), os.Remove(temp.Name())) }
	// The new file is locked before it takes the name, so that no other process can slip in between.
	if err := lock(temp); err != nil {
		return fail(err)
	}
	out := bufio.NewWriter(temp)
	end := int64(len(header))
	_, _ = out.WriteString(header) // bufio keeps the first error for Flush
	count := 0
	for r := range records {
		count++
		line, err := r.line()
		if err != nil {
			return fail(err)
		}
		_, _ = out.Write(line)
		end += int64(len(line))
	}
	if err := errors.Join(out.Flush(), temp.Sync()); err != nil {
		return fail(err)
	}
	if err := os.Rename(temp.Name(), j.path); err != nil {
		return fail(err)
	}
	old := j.file
	j.file, j.end, j.records = temp, end, count
	return errors.Join(syncFolder(j.path), old.Close())
}

func (j *journal) close() error {
	if j.broken == nil {
		j.broken = errors.New("journal is closed")
	}
	return errors.Join(unlock(j.file), j.file.Close())
}

// syncFolder makes a file's name durable.
func syncFolder(path string) error {
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
