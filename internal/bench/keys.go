package bench

import (
	"fmt"
	"math/rand/v2"
)

// Spread says how often each key is chosen.
type Spread string

// The spreads.
const (
	Uniform Spread = "uniform" // all alike
	Zipf    Spread = "zipf"    // the i-th in proportion to 1/i^1.1
	One     Spread = "one"     // the first alone
)

// Keys are the znodes that requests are about.
type Keys struct {
	Dir    string // their parent, where they have one
	Path   func(i int) string
	Count  int
	Spread Spread
}

// FlatKeys are count znodes in one directory.
func FlatKeys(dir string, count int, spread Spread) Keys {
	paths := make([]string, count)
	for i := range paths {
		paths[i] = fmt.Sprintf("%s/k%d", dir, i)
	}
	return Keys{Dir: dir, Path: func(i int) string { return paths[i] }, Count: count, Spread: spread}
}

// chooser draws numbers of keys.
func (k Keys) chooser(random *rand.Rand) func() int {
	if k.Count < 1 || k.Spread == One {
		return func() int { return 0 }
	}
	if k.Spread == Zipf {
		zipf := rand.NewZipf(random, 1.1, 1, uint64(k.Count-1))
		return func() int { return int(zipf.Uint64()) }
	}
	return func() int { return random.IntN(k.Count) }
}
