package app

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"github.com/jotgate/jotgate/config"
)

// How the watch paces itself. A writer of several files, or of one in pieces, may finish first.
const (
	watchQuiet = 200 * time.Millisecond // without any news, before the files are read
	watchMost  = 2 * time.Second        // news or not
	watchGap   = time.Second            // between two reloads, whatever a file does
	watchLinks = 40                     // on the way to one file, as the system has it
)

// A watch reloads when the contents of a source of the configuration change, in whatever way:
// written in place, replaced by a rename, or behind a symbolic link that now leads elsewhere (Kubernetes swaps one for
// a whole folder). So folders are watched, not files, and what happens in them is only a reason to look: what decides
// is whether the contents are those that the last reload read, good or bad. A bad file is hence told once, not again
// and again.
type watch struct {
	server  *Gate
	notify  *fsnotify.Watcher // nil: nothing is watched
	folders map[string]fs.FileInfo
	entries map[string]bool // paths in these folders that sources depend on
	amiss   string          // what was said last of why not everything is watched

	timer *time.Timer
	first time.Time // news since the files were last looked at; zero: none
	last  time.Time // when the watch last had the gate reload
}

// watching runs until the gate drains.
func (g *Gate) watching() {
	w := &watch{server: g, timer: time.NewTimer(0)} // what changed before this moment counts, too
	defer w.disarm()
	defer w.timer.Stop()
	w.arm()
	for {
		var events chan fsnotify.Event
		var faults chan error
		if w.notify != nil {
			events, faults = w.notify.Events, w.notify.Errors
		}
		select {
		case <-g.drain:
			return
		case <-g.reloaded: // other files may be named now
			w.arm()
			w.news()
		case e := <-events:
			if w.concerns(filepath.Clean(e.Name)) {
				w.news()
			}
		case <-faults: // mostly that more happened than the system could tell
			w.news()
		case <-w.timer.C:
			w.first = time.Time{}
			w.look()
		}
	}
}

// concerns reports whether what happened to a path may change what a source holds. Much else happens in some folders.
func (w *watch) concerns(path string) bool {
	return w.entries[path] || w.entries[filepath.Dir(path)+string(filepath.Separator)]
}

// news has the files looked at soon, when nothing more happens to them.
func (w *watch) news() {
	now := time.Now()
	if w.first.IsZero() {
		w.first = now
	}
	soon := min(watchQuiet, max(0, w.first.Add(watchMost).Sub(now)))
	w.timer.Reset(max(soon, w.last.Add(watchGap).Sub(now)))
}

func (w *watch) look() {
	if !w.server.Config().Watch {
		return
	}
	w.arm() // a folder that was replaced is another one now
	changed := w.server.sources.Load().Changed()
	if len(changed) == 0 {
		w.server.log.Debug("files were looked at, and are as they were")
		return
	}
	w.server.log.Info("files have changed", zap.Strings("files", changed))
	_ = w.server.reloadBy(byWatch, false) // it says in the log what came of it
	w.last = time.Now()
}

// arm watches the folders that the present sources depend on, and no others. Where the system does not let it, that is
// said once; a reload can still be asked for.
func (w *watch) arm() {
	if !w.server.Config().Watch {
		w.disarm()
		return
	}
	sources := *w.server.sources.Load()
	want := trails{folders: map[string]bool{}, entries: map[string]bool{}}
	for path := range sources {
		want.follow(path)
	}
	w.entries = want.entries
	failed := w.open()
	for folder := range w.folders {
		if !want.folders[folder] {
			w.forget(folder)
		}
	}
	for _, folder := range slices.Sorted(maps.Keys(want.folders)) {
		if err := w.add(folder); err != nil && failed == nil && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	w.tell(sources, failed)
}

func (w *watch) open() (err error) {
	if w.notify != nil {
		return nil
	}
	w.folders = map[string]fs.FileInfo{}
	w.notify, err = w.server.notifier()
	return limited(err)
}

// limited names the limit of Linux that an error means, which its own text does not (inotify(7)).
func limited(err error) error {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return fmt.Errorf("%w: no descriptor is left, or fs.inotify.max_user_instances is too small", err)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("%w: fs.inotify.max_user_watches is too small", err)
	}
	return err
}

func (w *watch) add(folder string) error {
	if w.notify == nil {
		return nil // the reason is known
	}
	info, err := os.Stat(folder)
	if err != nil {
		return err
	}
	if old, known := w.folders[folder]; known {
		if os.SameFile(old, info) {
			return nil
		}
		w.forget(folder)
	}
	if err := w.notify.Add(folder); err != nil {
		return &fs.PathError{Op: "watch", Path: folder, Err: limited(err)}
	}
	w.folders[folder] = info
	return nil
}

func (w *watch) forget(folder string) {
	_ = w.notify.Remove(folder) // of a folder that is gone, the system has forgotten it already
	delete(w.folders, folder)
}

func (w *watch) disarm() {
	if w.notify != nil {
		_ = w.notify.Close() // nothing was written
	}
	w.notify, w.folders, w.amiss = nil, nil, ""
	w.server.watched.Store(nil)
}

func (w *watch) tell(sources config.Sources, failed error) {
	state := &watchState{files: len(sources), err: failed}
	w.server.watched.Store(state)
	amiss := ""
	if failed != nil {
		amiss = failed.Error()
	}
	if amiss != "" && amiss != w.amiss {
		w.server.log.Warn("not every file is watched; SIGHUP and `jotgate reload` still have the gate read them",
			zap.Error(failed))
	}
	w.amiss = amiss
}

// A watchState is what metrics and readiness tell of the watch.
type watchState struct {
	files int
	err   error // why not all of them are watched
}

// trails are what the contents at some paths depend on: entries of folders, and the folders to watch for them.
type trails struct {
	folders, entries map[string]bool
}

// follow goes the way to path as the system does. Each link on it counts, the last entry, and the first that is
// missing; and of each folder with one of these, itself, since it may be moved away and another put into its place.
func (t *trails) follow(path string) {
	path, err := filepath.Abs(path)
	if err != nil {
		return // there is no current folder, hence no way to a relative path
	}
	volume := filepath.VolumeName(path) + string(filepath.Separator)
	at, rest := volume, split(path[len(volume):])
	for links := 0; len(rest) > 0 && links <= watchLinks; {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			at = filepath.Dir(at)
			continue
		}
		entry := filepath.Join(at, name)
		target, notLink := os.Readlink(entry)
		info, err := os.Stat(entry)
		switch {
		case notLink == nil:
			t.add(at, entry)
			links++
			if filepath.IsAbs(target) {
				at = filepath.VolumeName(target) + string(filepath.Separator)
				target = target[len(at):]
			}
			rest = append(split(target), rest...)
		case err != nil:
			t.add(at, entry)
			return
		case info.IsDir() && len(rest) > 0:
			at = entry
		case info.IsDir(): // a source that is a folder: what is in it counts
			t.add(at, entry)
			t.whole(entry)
		default:
			t.add(at, entry)
		}
	}
}

func (t *trails) add(folder, entry string) {
	t.folders[folder], t.entries[entry] = true, true
	t.folders[filepath.Dir(folder)], t.entries[folder] = true, true
}

// whole counts every entry that a folder has or will have.
func (t *trails) whole(folder string) {
	t.folders[folder] = true
	t.entries[folder+string(filepath.Separator)] = true
}

func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, string(filepath.Separator)), func(name string) bool {
		return name == "" ||
			name == "."
	})
}
