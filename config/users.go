package config

import (
	"strings"

	yaml "github.com/jotgate/jotgate/internal/strictyaml"
)

func (b *builder) buildUsers(w yaml.Setting[writtenUsers]) {
	u := &w.Value
	modes := 0
	for _, given := range []bool{u.open.Given, u.lookup.Given, u.list != nil} {
		if given {
			modes++
		}
	}
	switch {
	case !w.Given || w.Bad && modes == 0:
		return
	case modes != 1:
		b.Fault(
			w.At,
			"sets more or less than one source of users",
			"write a list, {open: true, role: …} or {lookup: {url: …}}",
		)
	case u.open.Given && !u.role.Given:
		b.Fault(w.At.Key("role"), "is missing", "name the role of every user")
	case u.role.Given && !u.open.Given:
		b.Fault(u.role.At, "has no effect without open: true", "add open: true, or remove role")
	}
	b.Issuer.Users = &Users{Open: b.fixedRole(u.role)}
	if u.lookup.Given {
		b.Issuer.Users.Lookup = &u.lookup.Value
	}
	if u.list != nil {
		b.Issuer.Users.List = map[string]*User{}
		for _, user := range u.list {
			if !user.Bad {
				b.buildUser(user)
			}
		}
	}
}

func (b *builder) buildUser(w yaml.Setting[writtenUser]) {
	id := strings.ToLower(w.Value.id.Value)
	users := b.Issuer.Users.List
	if users[id] != nil {
		b.Fault(w.Value.id.At, w.Value.id.Shown+" is listed twice", "remove one")
	}
	if b.isClient(id) {
		b.Fault(w.Value.id.At, w.Value.id.Shown+" is the id of a client", "give users and clients different ids")
	}
	user := &User{ID: id, Type: w.Value.kind}
	users[id] = user
	switch {
	case w.Value.role.Given && w.Value.permissions.Given:
		b.Fault(w.Value.permissions.At, "conflicts with role", "set only one of the two")
	case w.Value.role.Given:
		if role := b.fixedRole(w.Value.role); role != nil {
			user.Permissions = role.Permissions
		}
	case w.Value.permissions.Given:
		user.Permissions = b.permissions(w.Value.permissions.Value, noTemplates)
	case user.Type == "end_user":
		b.Fault(w.At.Key("role"), "is missing", "give the user a role or permissions")
	}
}
