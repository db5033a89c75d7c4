package library

import (
	"fmt"
	"math"
	"strings"
)

// series is a line in a picture.
type series struct {
	name   string
	points []point
}

type point struct{ x, y float64 }

func (s *series) add(x, y float64) { s.points = append(s.points, point{x, y}) }

// picture is a chart with a table of the same figures.
type picture struct {
	file, title, x, y string
	series            []series
	timeline          bool      // x and y are linear; otherwise both are logarithmic
	marks             []float64 // places on the x axis for vertical lines
}

// table has a row for each x value. A timeline has a row for each ten.
func (p *picture) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |", p.x)
	for _, s := range p.series {
		unit := ", " + p.y
		if p.timeline {
			unit = ""
		}
		fmt.Fprintf(&b, " %s%s |", s.name, unit)
	}
	b.WriteString("\n|---|" + strings.Repeat("---|", len(p.series)) + "\n")
	for i, at := range p.series[0].points {
		if p.timeline && i%10 != 4 {
			continue
		}
		fmt.Fprintf(&b, "| %s |", grouped(int(math.Round(at.x))))
		for _, s := range p.series {
			fmt.Fprintf(&b, " %s |", figure(s.points[i].y))
		}
		b.WriteString("\n")
	}
	return b.String()
}

// figure is a number with about three digits.
func figure(v float64) string {
	switch {
	case v < 10 && v != math.Trunc(v):
		return fmt.Sprintf("%.2f", v)
	case v < 100 && v != math.Trunc(v):
		return fmt.Sprintf("%.1f", v)
	}
	return printable(v)
}

// The chart's size, and its margins.
const (
	chartWidth, chartHeight = 660.0, 320.0
	left, right             = 70.0, 40.0 // the last label of the x axis stands half in the margin
	top, bottom             = 50.0, 50.0
)

var colours = []string{"#1f6feb", "#d1570a", "#3a7d34"}

// svg draws the picture.
func (p *picture) svg() string {
	x, y := p.scale(func(a point) float64 { return a.x }), p.scale(func(a point) float64 { return a.y })
	if p.timeline {
		y.low = 0
	}
	x.from, x.to = left, chartWidth-right
	y.from, y.to = chartHeight-bottom, top
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" font-family="sans-serif" font-size="12">`+"\n", chartWidth, chartHeight)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	fmt.Fprintf(&b, `<text x="%g" y="18" font-size="13">%s</text>`+"\n", left, p.title)
	fmt.Fprintf(&b, `<text x="%g" y="%g" text-anchor="middle">%s</text>`+"\n", (left+chartWidth-right)/2, chartHeight-8, p.x)
	fmt.Fprintf(&b, `<text x="14" y="%g" text-anchor="middle" transform="rotate(-90 14 %g)">%s</text>`+"\n", chartHeight/2, chartHeight/2, p.y)
	for _, v := range x.ticks() {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" stroke="#ddd"/><text x="%.1f" y="%g" text-anchor="middle">%s</text>`+"\n",
			x.place(v), top, x.place(v), chartHeight-bottom, x.place(v), chartHeight-bottom+16, figure(v))
	}
	for _, v := range y.ticks() {
		fmt.Fprintf(&b, `<line x1="%g" y1="%.1f" x2="%g" y2="%.1f" stroke="#ddd"/><text x="%g" y="%.1f" text-anchor="end">%s</text>`+"\n",
			left, y.place(v), chartWidth-right, y.place(v), left-6, y.place(v)+4, figure(v))
	}
	for _, v := range p.marks {
		fmt.Fprintf(&b, `<line x1="%.1f" y1="%g" x2="%.1f" y2="%g" stroke="#888" stroke-dasharray="4"/>`+"\n", x.place(v), top, x.place(v), chartHeight-bottom)
	}
	for i, s := range p.series {
		fmt.Fprintf(&b, `<text x="%g" y="%d" fill="%s">%s</text>`+"\n", left+float64(i)*200, 38, colours[i], s.name)
		b.WriteString(`<polyline fill="none" stroke-width="2" stroke="` + colours[i] + `" points="`)
		for _, a := range s.points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x.place(a.x), y.place(a.y))
		}
		b.WriteString(`"/>` + "\n")
		for _, a := range s.points {
			if !p.timeline {
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x.place(a.x), y.place(a.y), colours[i])
			}
		}
	}
	return b.String() + "</svg>\n"
}

// scale is an axis, from a low to a high value and from one place to another.
type scale struct {
	low, high, from, to float64
	linear              bool
}

// scale returns an axis for all points.
func (p *picture) scale(value func(point) float64) *scale {
	s := &scale{low: math.Inf(1), high: math.Inf(-1), linear: p.timeline}
	for _, line := range p.series {
		for _, a := range line.points {
			s.low, s.high = min(s.low, value(a)), max(s.high, value(a))
		}
	}
	if !s.linear { // room up to the next 1, 2 or 5
		s.low, s.high = roundDown(s.low), roundUp(s.high)
	}
	if s.low == s.high {
		s.high = 2 * s.low
	}
	return s
}

var steps = []float64{1, 2, 5, 10}

// roundDown returns the next 1, 2 or 5 times a power of ten.
func roundDown(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	best := power
	for _, s := range steps {
		if s*power <= v*1.0001 {
			best = s * power
		}
	}
	return best
}

// roundUp returns the next greater such number.
func roundUp(v float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, s := range steps {
		if s*power >= v*0.9999 {
			return s * power
		}
	}
	return 10 * power
}

func (s *scale) place(v float64) float64 {
	part := (v - s.low) / (s.high - s.low)
	if !s.linear {
		part = math.Log(v/s.low) / math.Log(s.high/s.low)
	}
	return s.from + part*(s.to-s.from)
}

// ticks are round values along the axis.
func (s *scale) ticks() []float64 {
	var all []float64
	if s.linear {
		step := roundDown((s.high - s.low) / 4)
		for v := math.Ceil(s.low/step) * step; v <= s.high; v += step {
			all = append(all, v)
		}
		return all
	}
	few := math.Log10(s.high/s.low) > 3
	for power := math.Pow(10, math.Floor(math.Log10(s.low))); power <= s.high*1.0001; power *= 10 {
		for _, m := range steps[:3] {
			v := m * power
			if v >= s.low*0.9999 && v <= s.high*1.0001 && (m == 1 || !few) {
				all = append(all, v)
			}
		}
	}
	return all
}
