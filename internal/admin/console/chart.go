package console

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Charts are drawn in a box of these units, which the page stretches.
const (
	chartWidth  = 600
	chartHeight = 120
)

// nice is the least of 1, 2 and 5 times a power of ten that is not below a value.
func nice(most float64) float64 {
	if most <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(most)))
	for _, step := range []float64{1, 2, 5, 10} {
		if step*power >= most {
			return step * power
		}
	}
	return 10 * power
}

// line draws values over [trafficSpan], the latest at the right edge; area closes it at the bottom.
func line(ages []time.Duration, values []float64, top float64) (path, area string) {
	var b strings.Builder
	first := 0.0
	for i, v := range values {
		x := chartWidth * (1 - ages[i].Seconds()/trafficSpan.Seconds())
		if x < 0 {
			continue
		}
		y := chartHeight * (1 - v/top)
		if b.Len() == 0 {
			first = x
			b.WriteByte('M')
		} else {
			b.WriteByte('L')
		}
		b.WriteString(coordinate(x) + " " + coordinate(y))
	}
	if b.Len() == 0 {
		return "M0 0", "M0 0"
	}
	return b.String(), fmt.Sprintf("%sL%d %dL%s %dZ", b.String(), chartWidth, chartHeight, coordinate(first), chartHeight)
}

func coordinate(v float64) string { return strconv.FormatFloat(math.Round(v*10)/10, 'f', -1, 64) }

// columns stacks counts, one column for each moment, and returns a path for each kind.
func columns(counts [][]int, kinds int, top float64) []string {
	width := chartWidth / float64(max(len(counts), 1))
	paths := make([]strings.Builder, kinds)
	for i, column := range counts {
		y := float64(chartHeight)
		for k, n := range column {
			if n == 0 {
				continue
			}
			height := max(chartHeight*float64(n)/top, 1)
			y -= height
			fmt.Fprintf(&paths[k], "M%s %sh%sv%sh-%sZ", coordinate(float64(i)*width+width*.12), coordinate(y),
				coordinate(width*.76), coordinate(height), coordinate(width*.76))
		}
	}
	all := make([]string, kinds)
	for k := range paths {
		if all[k] = paths[k].String(); all[k] == "" {
			all[k] = "M0 0"
		}
	}
	return all
}

// rate tells a rate in three digits.
func rate(v float64) string {
	switch {
	case v == 0:
		return "0"
	case v < 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return number(int(math.Round(v)))
}
