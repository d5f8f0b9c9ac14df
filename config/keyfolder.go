package config

import (
	"path/filepath"
	"slices"
	"strings"
)

// withFolders puts the files of each folder in the folder's place, in the order of their names. So a rotation is three
// moves, each with a reload after it: put a new key there as b.next.pem; call it b.pem, and the old one a.retired.pem, in
// that order, so that there is always one to sign; remove a.retired.pem when its tokens have ended.
func (b *builder) withFolders(w []setting[writtenKey]) []setting[writtenKey] {
	var all []setting[writtenKey]
	for _, k := range w {
		file, dir := k.Value.file, k.Value.dir
		switch {
		case k.bad:
			all = append(all, k)
		case file.given && dir.given:
			b.fault(dir.at, "is there beside file", "keep one of the two; each can be an item of keys")
		case !file.given && !dir.given:
			b.fault(k.at.key("file"), "is missing", "name the key's file, or a folder of keys: {dir: keys/}")
		case file.given:
			all = append(all, k)
		case k.Value.create.Value:
			b.fault(k.Value.create.at, "has a meaning only beside file", "make the first key with `jotgate keygen`")
		case k.Value.state.given:
			b.fault(k.Value.state.at, "has a meaning only beside file", "in a folder the names say it: a.pem, b.next.pem, c.retired.pem")
		default:
			all = append(all, b.folder(k)...)
		}
	}
	return all
}

// folder lists the key files of one folder. What begins with a dot is the system's, or an editor's.
func (b *builder) folder(k setting[writtenKey]) (keys []setting[writtenKey]) {
	dir := k.Value.dir
	entries, err := b.readDir(b.resolve(dir.Value))
	if err != nil && b.keysElsewhere {
		return []setting[writtenKey]{{Value: writtenKey{file: dir}, at: k.at}} // a key that cannot be read either
	}
	if err != nil {
		b.fault(dir.at, "the folder "+dir.shown+" cannot be read ("+cause(err)+")", "create it; a relative path starts at this file's folder")
		return []setting[writtenKey]{{at: k.at, bad: true}}
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir.Value, name)
		if extension := filepath.Ext(name); extension != ".pem" && extension != ".jwk" {
			b.warn(dir.at, quote(path)+" is not taken for a key", "end its name in .pem or .jwk, or keep it elsewhere")
			continue
		}
		key := writtenKey{file: setting[string]{Value: path, at: dir.at, shown: quote(path), given: true}}
		state, ok := b.stateIn(path, dir.at)
		if state != "" {
			key.state = setting[string]{Value: state, at: dir.at, shown: quote(path), given: true}
		}
		keys = append(keys, setting[writtenKey]{Value: key, at: k.at, given: true, bad: !ok})
	}
	if len(keys) == 0 {
		b.fault(dir.at, "the folder "+dir.shown+" has no key", "make one with `jotgate keygen`, in a file like main.pem")
		return []setting[writtenKey]{{at: k.at, bad: true}}
	}
	return keys
}

// stateIn reads the state that a file's name says before its extension; "" is none. A word that is no state is a fault,
// since a key whose retired was misspelt would sign.
func (b *builder) stateIn(path string, at place) (state string, ok bool) {
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", true
	}
	if state = name[i+1:]; !slices.Contains([]string{keyNext, keyCurrent, keyRetired}, state) {
		b.fault(at, quote(path)+" says no state that a key can have", "call it "+quote(name[:i]+filepath.Ext(path))+", or write next, current or retired between the two dots")
		return "", false
	}
	return state, true
}
