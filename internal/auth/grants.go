package auth

import (
	"slices"
	"sort"
	"strings"
)

// span is the keys from begin to before end. The end of all keys is "".
type span struct{ begin, end string }

// spanOf returns the keys of a range.
func spanOf(key, end string) span {
	switch end {
	case "":
		return span{key, key + "\x00"}
	case openEnd:
		return span{key, ""}
	}
	return span{key, end}
}

// before reports whether the span a ends before an end.
func endsBefore(a, b string) bool { return b == "" && a != "" || a != "" && a < b }

// grants are the keys that a user may read and write, as sorted spans with gaps between
// them.
type grants struct{ reads, writes []span }

// grants returns the permissions of all roles of a user together.
func (s *State) grants(user string) *grants {
	if g, ok := s.merged.Load(user); ok {
		return g.(*grants)
	}
	u := s.users[user]
	if u == nil {
		return &grants{} // not kept, because names of callers are without bound
	}
	g := &grants{}
	for _, role := range u.Roles {
		for _, p := range s.roles[role] {
			if p.Access&Read != 0 {
				g.reads = append(g.reads, spanOf(p.Key, p.End))
			}
			if p.Access&Write != 0 {
				g.writes = append(g.writes, spanOf(p.Key, p.End))
			}
		}
	}
	g.reads, g.writes = merge(g.reads), merge(g.writes)
	s.merged.Store(user, g)
	return g
}

// merge sorts spans, and joins those that overlap or meet.
func merge(all []span) []span {
	slices.SortFunc(all, func(a, b span) int { return strings.Compare(a.begin, b.begin) })
	joined := all[:0]
	for _, one := range all {
		if n := len(joined) - 1; n >= 0 && !endsBefore(joined[n].end, one.begin) {
			if endsBefore(joined[n].end, one.end) {
				joined[n].end = one.end
			}
			continue
		}
		joined = append(joined, one)
	}
	return joined
}

// cover reports whether the grants allow an access to all keys of a range.
func (g *grants) cover(key, end string, access Access) bool {
	return (access&Read == 0 || covers(g.reads, spanOf(key, end))) && (access&Write == 0 || covers(g.writes, spanOf(key, end)))
}

func covers(all []span, one span) bool {
	behind := sort.Search(len(all), func(i int) bool { return all[i].begin > one.begin })
	return behind > 0 && !endsBefore(all[behind-1].end, one.end)
}
