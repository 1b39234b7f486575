package generation

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// FormatVersion is the journal format that this package writes.
const FormatVersion = 1

// rawMember is a member of the document that this version does not know.
type rawMember = json.RawMessage

// Encode gives the journal as JSON, indented for people who look at a broken
// machine, with the members that this version does not know.
func Encode(j *Journal) ([]byte, error) {
	type plain Journal // without methods, so that Marshal does not recurse
	document, err := json.Marshal((*plain)(j))
	if err != nil {
		return nil, fmt.Errorf("cannot encode the journal: %w", err)
	}
	if len(j.unknown) > 0 {
		members := map[string]rawMember{}
		if err := json.Unmarshal(document, &members); err != nil {
			return nil, fmt.Errorf("cannot encode the journal: %w", err)
		}
		for name, value := range j.unknown {
			members[name] = value
		}
		if document, err = json.Marshal(members); err != nil {
			return nil, fmt.Errorf("cannot encode the journal: %w", err)
		}
	}
	var indented strings.Builder
	encoder := json.NewEncoder(&indented)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(json.RawMessage(document)); err != nil {
		return nil, fmt.Errorf("cannot encode the journal: %w", err)
	}
	return []byte(indented.String()), nil
}

// Decode reads what Encode wrote. It refuses a format that is newer than this
// package, and a document whose ids contradict each other.
func Decode(document []byte) (*Journal, error) {
	j := &Journal{}
	type plain Journal
	if err := json.Unmarshal(document, (*plain)(j)); err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	if j.Format < 1 || j.Format > FormatVersion {
		return nil, fmt.Errorf("cannot read the journal: it has format %d, and this updater knows 1 to %d", j.Format, FormatVersion)
	}
	if err := j.validate(); err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	members := map[string]rawMember{}
	if err := json.Unmarshal(document, &members); err != nil {
		return nil, fmt.Errorf("cannot read the journal: %w", err)
	}
	for _, name := range knownMembers() {
		delete(members, name)
	}
	if len(members) > 0 {
		j.unknown = members
	}
	return j, nil
}

// knownMembers lists the JSON names of Journal's fields.
func knownMembers() []string {
	t := reflect.TypeFor[Journal]()
	var names []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// validate looks for ids that are used twice or that lead nowhere.
func (j *Journal) validate() error {
	seen := map[ID]bool{}
	for _, g := range j.Generations {
		if !g.ID.valid() {
			return fmt.Errorf("generation id %q is not valid", g.ID)
		}
		if seen[g.ID] {
			return fmt.Errorf("generation %s is there twice", g.ID)
		}
		seen[g.ID] = true
	}
	references := map[string]ID{
		"root": j.Roles.Root, "current": j.Roles.Current, "previous": j.Roles.Previous, "default": j.Default,
	}
	if j.Trial != nil {
		references["trial"] = j.Trial.ID
	}
	for role, id := range references {
		if id != "" && !seen[id] {
			return fmt.Errorf("%s refers to generation %q, which is not there", role, id)
		}
	}
	if j.Operation != nil && !j.Operation.Generation.ID.valid() {
		return fmt.Errorf("the operation in flight has the generation id %q, which is not valid", j.Operation.Generation.ID)
	}
	return nil
}

// valid reports whether the id can be part of a name: lower-case letters, digits
// and dashes, as sdk.Entry asks.
func (id ID) valid() bool {
	if id == "" || len(id) > 64 {
		return false
	}
	return strings.Trim(string(id), "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}
