package porcupine

// ExplainContext is Explain with a time of the caller's.
var ExplainContext = explain

// Paths are the ways to an answer, each on its own, for comparing them. A path
// that cannot tell answers Unknown.
var Paths = map[string]func(model Model, history []Operation) CheckResult{
	"search in depth": func(model Model, history []Operation) CheckResult {
		s, _ := pathSearch(model, history)
		return bySearch(s)
	},
	"search by levels": func(model Model, history []Operation) CheckResult {
		s, _ := pathSearch(model, history)
		s.levels = newLevels()
		return bySearch(s)
	},
	"search in slices": func(model Model, history []Operation) CheckResult {
		s, _ := pathSearch(model, history)
		for {
			if v := s.run(1); v != undecided {
				return verdictResult(v)
			}
		}
	},
	"resolved": func(model Model, history []Operation) CheckResult {
		s, p := pathSearch(model, history)
		resolved := s.states.model.resolve(p, s.budget)
		if resolved == p {
			return Unknown
		}
		return bySearch(newSearch(s.states.model, resolved, s.budget))
	},
	"hint": func(model Model, history []Operation) CheckResult {
		s, p := pathSearch(model, history)
		if model.Hint == nil {
			return Unknown
		}
		accesses, ok := model.Hint.accesses(p, s.budget)
		if !ok {
			return Unknown
		}
		return verdictResult(s.byBlocksAlone(newBlocks(p, s.budget, model.Hint.Initial, accesses), func() bool { return true }))
	},
	"order": func(model Model, history []Operation) CheckResult {
		if s, _ := pathSearch(model, history); s.order != nil && s.order.misplaced != noOperation {
			return Illegal
		}
		return Unknown
	},
	"guess": func(model Model, history []Operation) CheckResult {
		s, p := pathSearch(model, history)
		guess, ok := infer(s.states, p)
		if !ok {
			return Unknown
		}
		return verdictResult(s.byBlocksAlone(newBlocks(p, s.budget, guess.initial, guess.accesses), guess.certified))
	},
}

func pathSearch(model Model, history []Operation) (*search, *part) {
	model = model.withDefaults()
	b := unlimited()
	p, err := fromOperations(b, history)
	if err != nil {
		panic(err)
	}
	return newSearch(&model, p, b), p
}

func bySearch(s *search) CheckResult {
	v := s.run(1 << 40)
	if v == legal && !s.confirms(s.wholePath()) {
		panic("the search's path is no linearization")
	}
	return verdictResult(v)
}

func verdictResult(v verdict) CheckResult {
	return map[verdict]CheckResult{legal: Ok, illegal: Illegal, undecided: Unknown}[v]
}

func (s *search) byBlocksAlone(b *blocks, believed func() bool) verdict {
	_, v := s.byBlocks(b, believed)
	return v
}
