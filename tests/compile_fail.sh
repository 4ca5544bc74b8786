#!/bin/sh
# What GOR_GO and the calls of channels must refuse to compile, and what they must take. TAP.
#   CC CFLAGS, CXX CXXFLAGS   the compilers;   BUILD  where to build;   ROOT  where gor.h is
cd "$(dirname "$0")/.." || exit 1
. tests/tap.sh
dir=$BUILD/compile_fail
mkdir -p "$dir" || exit 1

# compile LANGUAGE CODE: a function `use` with the code in it, behind the declarations below
compile() {
    {
        printf '#include "gor.h"\n'
        printf '%s\n' \
            'struct pair { int a, b; };' \
            'struct large { long a[4]; };' \
            'enum colour { RED, GREEN };' \
            'void none(void);' \
            'void one_int(int);' \
            'void one_unsigned(unsigned);' \
            'void one_long(long);' \
            'void one_char(char);' \
            'void one_short(short);' \
            'void one_bool(bool);' \
            'void one_colour(enum colour);' \
            'void one_float(float);' \
            'void one_double(double);' \
            'void one_pair(struct pair);' \
            'void one_pointer(int *);' \
            'void one_const_pointer(const int *);' \
            'void one_text(const char *);' \
            'void one_void_pointer(void *);' \
            'void one_function(void (*)(int));' \
            'void int_double(int, double);' \
            'void char_int(char, int);' \
            'void six(int, long, unsigned, int *, const char *, char);' \
            'void seven(int, int, int, int, int, int, int);' \
            'int gives_int(int);' \
            'struct large gives_large(int);' \
            'void use(int i, unsigned u, long l, char ch, short sh, bool b, double d, int *p,' \
            '         const int *cp, char *text, struct pair pair, enum colour colour);' \
            'void use(int i, unsigned u, long l, char ch, short sh, bool b, double d, int *p,' \
            '         const int *cp, char *text, struct pair pair, enum colour colour)' \
            '{' \
            '    (void)i; (void)u; (void)l; (void)ch; (void)sh; (void)b; (void)d; (void)p;' \
            '    (void)cp; (void)text; (void)pair; (void)colour;'
        printf '    %s;\n}\n' "$2"
    } >"$dir/case.$1"
    # shellcheck disable=SC2086
    if [ "$1" = c ]; then
        $CC -std=c11 -pedantic -Wall -Wextra -Wconversion -Wshadow -Werror $CFLAGS -I"$ROOT" \
            -fsyntax-only "$dir/case.c" >"$dir/log" 2>&1
    else
        $CXX -std=c++17 -Wall -Wextra -Werror $CXXFLAGS -I"$ROOT" \
            -fsyntax-only "$dir/case.$1" >"$dir/log" 2>&1
    fi
}

taken() {                               # taken LANGUAGE CODE
    if compile "$1" "$2"; then
        result 0 "$1 takes $2"
    else
        sed 's/^/#   | /' "$dir/log" | head -12
        result 1 "$1 takes $2"
    fi
}

# A refusal must be a diagnostic about GOR_GO, not a crash of the compiler or a missing header.
refused() {                             # refused LANGUAGE CODE
    if compile "$1" "$2"; then
        echo "# it compiles"
        result 1 "$1 refuses $2"
    else
        grep -q 'error:' "$dir/log" && ! grep -Eq 'No such file|internal compiler' "$dir/log"
        result $? "$1 refuses $2"
    fi
}

for lang in c cc; do
    taken $lang '(void)i'
    taken $lang 'GOR_GO(none)'
    taken $lang 'GOR_GO(one_int, 1)'
    taken $lang 'GOR_GO(one_int, i)'
    taken $lang 'GOR_GO(one_int, ch)'
    taken $lang 'GOR_GO(one_unsigned, u)'
    taken $lang 'GOR_GO(one_long, l)'
    taken $lang 'GOR_GO(one_long, i)'
    taken $lang 'GOR_GO(one_long, -1)'
    taken $lang 'GOR_GO(one_char, ch)'
    taken $lang 'GOR_GO(one_char, (char)5)'
    taken $lang 'GOR_GO(one_short, sh)'
    taken $lang 'GOR_GO(one_bool, b)'
    taken $lang 'GOR_GO(one_colour, colour)'
    taken $lang 'GOR_GO(one_colour, (enum colour)1)'
    taken $lang 'GOR_GO(one_pointer, p)'
    taken $lang 'GOR_GO(one_pointer, &i)'
    taken $lang 'GOR_GO(one_pointer, NULL)'
    taken $lang 'GOR_GO(one_const_pointer, cp)'
    taken $lang 'GOR_GO(one_const_pointer, p)'
    taken $lang 'GOR_GO(one_text, text)'
    taken $lang 'GOR_GO(one_text, "text")'
    taken $lang 'GOR_GO(one_void_pointer, p)'
    taken $lang 'GOR_GO(one_function, one_int)'
    taken $lang 'GOR_GO(char_int, ch, i)'
    taken $lang 'GOR_GO(six, 1, 2L, 3u, &i, (const char *)"5", (char)6)'
    taken $lang 'GOR_GO(gives_int, 1)'
    taken $lang 'int rc = GOR_GO(one_int, 1); (void)rc'
    taken $lang 'if (GOR_GO(one_int, 1) != 0) i = 0; else i = 1'

    refused $lang 'GOR_GO(one_float, 1.0f)'
    refused $lang 'GOR_GO(one_float, 1)'
    refused $lang 'GOR_GO(one_float, i)'
    refused $lang 'GOR_GO(one_double, d)'
    refused $lang 'GOR_GO(one_double, 1)'
    refused $lang 'GOR_GO(int_double, 1, 2)'
    refused $lang 'GOR_GO(int_double, 1, d)'
    refused $lang 'GOR_GO(one_pair, pair)'
    refused $lang 'GOR_GO(one_pair, 1)'
    refused $lang 'GOR_GO(one_int, pair)'
    refused $lang 'GOR_GO(one_pointer, pair)'
    refused $lang 'GOR_GO(none, 1)'
    refused $lang 'GOR_GO(one_int)'
    refused $lang 'GOR_GO(one_int, 1, 2)'
    refused $lang 'GOR_GO(one_pointer)'
    refused $lang 'GOR_GO(six, 1, 2L, 3u, &i, "5")'
    refused $lang 'GOR_GO(seven, 1, 2, 3, 4, 5, 6, 7)'
    refused $lang 'GOR_GO(one_pointer, &l)'
    refused $lang 'GOR_GO(one_pointer, cp)'
    refused $lang 'GOR_GO(one_pointer, text)'
    refused $lang 'GOR_GO(one_pointer, 5)'
    refused $lang 'GOR_GO(one_int, p)'
    refused $lang 'GOR_GO(one_function, none)'
    refused $lang 'GOR_GO(i, 1)'
done

# Of a void * gcc takes the size to be 1.
taken c 'gor_send((gor_chan *)0, p)'
taken c 'gor_recv((gor_chan *)0, &pair)'
taken c 'gor_select(gor_on_recv((gor_chan *)0, text))'
for call in 'gor_send((gor_chan *)0, (void *)p)' 'gor_recv((gor_chan *)0, (void *)p)' \
    'gor_send((gor_chan *)0, (const void *)p)' 'gor_select(gor_on_send((gor_chan *)0, (void *)p))'; do
    refused c "$call"
    grep -q 'a_void_pointer_has_no_size' "$dir/log"
    result $? "c says why it refuses $call"
done

# An argument would arrive with whatever is in the register's upper bits: C wants the exact type.
refused c 'GOR_GO(one_char, 5)'
refused c 'GOR_GO(one_char, i)'
refused c 'GOR_GO(one_short, 5)'
refused c 'GOR_GO(one_short, ch)'
refused c 'GOR_GO(one_bool, 1)'
refused c 'GOR_GO(char_int, 1, 2)'
refused c 'GOR_GO(one_int, d)'
refused c 'GOR_GO(one_int, 1.5)'
refused c 'GOR_GO(gives_large, 1)'

echo "1..$n"
[ $n_failed = 0 ]
