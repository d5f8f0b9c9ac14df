package config

import (
	"path/filepath"
	"slices"
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

// withFolders puts the files of each folder in the folder's place, in the order of their names. So a rotation is three
// moves, each with a reload after it: put a new key there as b.next.pem; call it b.pem, and the old one a.retired.pem,
// in that order, so that there is always one to sign; remove a.retired.pem when its tokens have ended.
func (b *builder) withFolders(w []yaml.Setting[writtenKey]) []yaml.Setting[writtenKey] {
	var all []yaml.Setting[writtenKey]
	for _, k := range w {
		file, dir := k.Value.file, k.Value.dir
		switch {
		case k.Bad:
			all = append(all, k)
		case file.Given && dir.Given:
			b.Fault(dir.At, "conflicts with file", "set only one of the two; each can be an item of keys")
		case !file.Given && !dir.Given:
			b.Fault(k.At.Key("file"), "is missing", "name the key file, or a directory of keys: {dir: keys/}")
		case file.Given:
			all = append(all, k)
		case k.Value.create.Value:
			b.Fault(
				k.Value.create.At,
				"has no effect with dir",
				"remove it, and create the first key with `jotgate keygen`",
			)
		case k.Value.state.Given:
			b.Fault(
				k.Value.state.At,
				"has no effect with dir",
				"remove it: in a directory the file names say the state, as in a.pem, b.next.pem, c.retired.pem",
			)
		default:
			all = append(all, b.folder(k)...)
		}
	}
	return all
}

// folder lists the key files of one folder. What begins with a dot is the system's, or an editor's.
func (b *builder) folder(k yaml.Setting[writtenKey]) (keys []yaml.Setting[writtenKey]) {
	dir := k.Value.dir
	entries, err := b.readDir(b.Resolve(dir.Value))
	if err != nil && b.keysElsewhere {
		return []yaml.Setting[writtenKey]{{Value: writtenKey{file: dir}, At: k.At}} // a key that cannot be read either
	}
	if err != nil {
		b.Fault(
			dir.At,
			"the directory "+dir.Shown+" cannot be read ("+yaml.Cause(err)+")",
			"create it; relative paths start at this file's directory",
		)
		return []yaml.Setting[writtenKey]{{At: k.At, Bad: true}}
	}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, ".") {
			continue
		}
		path := filepath.Join(dir.Value, name)
		if extension := filepath.Ext(name); extension != ".pem" && extension != ".jwk" {
			b.Warn(
				dir.At,
				yaml.Quote(path)+" is ignored: it is not named like a key file",
				"rename it to end in .pem or .jwk, or move it elsewhere",
			)
			continue
		}
		key := writtenKey{file: yaml.Setting[string]{Value: path, At: dir.At, Shown: yaml.Quote(path), Given: true}}
		state, ok := b.stateIn(path, dir.At)
		if state != "" {
			key.state = yaml.Setting[string]{Value: state, At: dir.At, Shown: yaml.Quote(path), Given: true}
		}
		keys = append(keys, yaml.Setting[writtenKey]{Value: key, At: k.At, Given: true, Bad: !ok})
	}
	if len(keys) == 0 {
		b.Fault(
			dir.At,
			"the directory "+dir.Shown+" holds no key",
			"create one with `jotgate keygen`, in a file such as main.pem",
		)
		return []yaml.Setting[writtenKey]{{At: k.At, Bad: true}}
	}
	return keys
}

// stateIn reads the state that a file's name says before its extension; "" is none. A word that is no state is a fault,
// since a key whose retired was misspelt would sign.
func (b *builder) stateIn(path string, at yaml.Place) (state string, ok bool) {
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	i := strings.LastIndexByte(name, '.')
	if i < 0 {
		return "", true
	}
	if state = name[i+1:]; !slices.Contains([]string{keyNext, keyCurrent, keyRetired}, state) {
		b.Fault(
			at,
			yaml.Quote(path)+" has no valid key state in its name",
			"rename it to "+yaml.Quote(
				name[:i]+filepath.Ext(path),
			)+", or use next, current or retired between the two dots",
		)
		return "", false
	}
	return state, true
}
