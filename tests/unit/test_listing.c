// Lists of image files: folders, tables and the data sets with files of their own, on files made here; what is wrong
// with each is one line that says where.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "../../runtime/listing.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static const char *at(const char *name) {
    static char buf[4][512];
    static int k;
    k = (k + 1) % 4;
    snprintf(buf[k], sizeof buf[k], "%s/%s", dir, name);
    return buf[k];
}

// A file and the folders above it.
static void put(const char *name, const char *text) {
    char path[512];
    snprintf(path, sizeof path, "%s", at(name));
    *strrchr(path, '/') = 0;
    assert_int_equal(io_make_dirs(path), SMKD_OK);
    assert_int_equal(io_write_file(at(name), text, strlen(text)), SMKD_OK);
}

static void put_n(const char *name, const void *data, size_t n) {
    put(name, "");
    assert_int_equal(io_write_file(at(name), data, n), SMKD_OK);
}

static void folder(const char *name) { assert_int_equal(io_make_dirs(at(name)), SMKD_OK); }

static struct rt_listing l;

static void load_with(const char *name, const struct rt_listing_options *o) {
    rt_listing_release(&l);
    assert_true(rt_listing_detect(at(name)));
    if (rt_listing_load(at(name), o, &l) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
}
static void load(const char *name) { load_with(name, NULL); }

static void fails_with(const char *name, const struct rt_listing_options *o, const char *part1, const char *part2) {
    rt_listing_release(&l);
    assert_int_not_equal(rt_listing_load(at(name), o, &l), SMKD_R_OK);
    const char *e = smkd_last_error();
    if (!strstr(e, part1) || !strstr(e, part2)) fail_msg("message: %s", e);
    assert_null(strchr(e, '\n'));
}
static void fails(const char *name, const char *part1, const char *part2) { fails_with(name, NULL, part1, part2); }

// "class:path below dir" of each, separated by blanks.
static void is_list(const struct rt_list *list, const char *expected) {
    struct str s = STR_INIT;
    for (size_t i = 0; i < list->n; i++) {
        const char *p = rt_list_path(list, i);
        if (str_has_prefix(p, dir)) p += strlen(dir) + 1;
        str_addf(&s, "%s%d:%s", i ? " " : "", list->label[i], p);
    }
    assert_string_equal(s.s ? s.s : "", expected);
    str_release(&s);
}

static void is_classes(const char *expected) {
    struct str s = STR_INIT;
    for (int i = 0; i < l.n_classes; i++) str_addf(&s, "%s%s", i ? "|" : "", l.classes[i]);
    assert_string_equal(s.s ? s.s : "", expected);
    str_release(&s);
}

static void notes(const char *part) {
    for (int i = 0; i < l.n_notes; i++)
        if (strstr(l.notes[i], part)) return;
    fail_msg("no note \"%s\" among %d, the first: %s", part, l.n_notes, l.n_notes ? l.notes[0] : "");
}

// --- class folders ---------------------------------------------------------------------------------------------------

static void splits_and_order(void **state) {
    (void)state;
    put("a/train/cat-wild/1.jpg", "");
    put("a/train/cat/2.JPG", "");
    put("a/train/cat/10.jpeg", "");
    put("a/train/cat/sub-x/a.png", "");
    put("a/train/cat/sub/z.webp", "");
    put("a/train/cat/zoo.bmp", "");
    put("a/train/Hund \xc3\xa4/ein bild.jpg", "");
    put("a/train/cat/.hidden.jpg", "");
    put("a/train/cat/notes.txt", "");
    put("a/train/.ipynb_checkpoints/1.jpg", "");
    put("a/train/loose.jpg", "");
    put("a/val/cat/v.jpg", "");
    put("a/val/owl/o.jpg", "");
    folder("a/val/empty");
    load("a");
    assert_string_equal(l.name, "a");
    assert_string_equal(l.kind, "class folders");
    is_classes("Hund \xc3\xa4|cat|cat-wild|empty|owl");
    is_list(&l.train,
            "0:a/train/Hund \xc3\xa4/ein bild.jpg 1:a/train/cat/10.jpeg 1:a/train/cat/2.JPG "
            "1:a/train/cat/zoo.bmp 1:a/train/cat/sub/z.webp 1:a/train/cat/sub-x/a.png 2:a/train/cat-wild/1.jpg");
    assert_true(l.has_test);
    is_list(&l.test, "1:a/val/cat/v.jpg 4:a/val/owl/o.jpg");
    notes("2 of 5 classes have no training image: empty, owl");
    notes("3 of 5 classes have no test image: Hund \xc3\xa4, cat-wild, empty");
    notes("1 image beside the class folders is left out");
    notes("1 file, notes.txt for instance, does not end as an image does");
    assert_int_equal(l.n_notes, 4);
}

static void one_folder(void **state) {
    (void)state;
    put("b/10/x.jpg", "");
    put("b/9/x.jpg", "");
    put("b/test/x.jpg", ""); // a class, since there is no train
    load("b/");
    assert_string_equal(l.name, "b");
    is_classes("10|9|test"); // by bytes, also where they are numbers
    is_list(&l.train, "0:b/10/x.jpg 1:b/9/x.jpg 2:b/test/x.jpg");
    assert_false(l.has_test);
    assert_int_equal(l.n_notes, 0);
}

static void which_part(void **state) {
    (void)state;
    put("c/Train/a/x.jpg", "");
    put("c/Valid/a/v.jpg", "");
    put("c/test/a/t.jpg", "");
    load("c");
    is_list(&l.test, "0:c/Valid/a/v.jpg");
    notes("c/test: is not used (--test-split test)");
    load_with("c", &(struct rt_listing_options){.test_split = "test"});
    is_list(&l.test, "0:c/test/a/t.jpg");
    fails_with("c", &(struct rt_listing_options){.test_split = "best"}, "--test-split best", "expected val or test");
    put("c2/train/a/x.jpg", "");
    put("c2/test/0001.jpg", ""); // no class folders, as ImageNet's
    load("c2");
    assert_false(l.has_test);
    fails_with("c2", &(struct rt_listing_options){.test_split = "test"}, "--test-split test", "no such part");
    put("c3/val/a/x.jpg", "");
    load("c3"); // to evaluate on
    assert_int_equal(l.train.n, 0);
    is_list(&l.test, "0:c3/val/a/x.jpg");
    put("c4/train/a/x.jpg", "");
    put("c4/val/a/x.jpg", "");
    put("c4/valid/a/x.jpg", "");
    fails("c4", "both", "rename one");
}

static void a_folder_too_high(void **state) {
    (void)state;
    put("up/photos/daisy/1.jpg", "");
    put("up/photos/rose/1.jpg", "");
    fails("up", "has a single folder, with folders and no image in it", "--data ");
    put("up2/photos/train/daisy/1.jpg", "");
    put("up2/photos/val/daisy/1.jpg", "");
    fails("up2/", "is that the data: --data", "/up2/photos?");
    put("up3/one/a/1.jpg", ""); // one class
    load("up3");
    is_classes("one");
}

static void links(void **state) {
    (void)state;
    put("d/real/a.jpg", "");
    folder("e/cat");
    assert_int_equal(symlink("../../d/real", at("e/cat/more")), 0);
    assert_int_equal(symlink("../../d/real/a.jpg", at("e/cat/one.jpg")), 0);
    assert_int_equal(symlink("nowhere", at("e/cat/gone.jpg")), 0);
    assert_int_equal(symlink("nowhere", at("e/cat/gone")), 0);
    assert_int_equal(symlink("../d/real", at("e/dog")), 0);
    assert_int_equal(symlink("..", at("e/cat/up")), 0);
    assert_int_equal(symlink(".", at("e/cat/self")), 0);
    load("e");
    is_classes("cat|dog");
    is_list(&l.train, "0:e/cat/gone.jpg 0:e/cat/one.jpg 0:e/cat/more/a.jpg 1:e/dog/a.jpg");
    notes("leads back to a folder above it and is left out, as others are");
}

static void deep(void **state) {
    (void)state;
    struct str s = STR_INIT;
    str_add(&s, "f/a");
    for (int i = 0; i < 34; i++) str_add(&s, "/d");
    put("f/a/x.jpg", "");
    put("g/a/x.jpg", "");
    folder(s.s);
    fails("f", "nested more than 32 deep", "f/a/d");
    str_release(&s);
}

static void nothing_there(void **state) {
    (void)state;
    folder("h/cat");
    assert_false(rt_listing_detect(at("h")));
    fails("h", "has no image (.jpg .jpeg .png .webp .bmp) in class folders", "/h");
    put("h/cat/a.tiff", "");
    put("h/cat/b.tiff", "");
    fails("h", "2 other files", ".tiff for instance");
    put("i/a.jpg", "");
    assert_false(rt_listing_detect(at("i")));
    fails("i", "has 1 image but no folder of a class", "/i/CLASS/");
    fails("missing", "no list of images", "missing");
    put("bad/\xff\xfe/a.jpg", "");
    fails("bad", "is no UTF-8", "\\xff\\xfe");
}

// --- tables ----------------------------------------------------------------------------------------------------------

static void csv(void **state) {
    (void)state;
    put("t/img/a b.jpg", "");
    put("t/x, \"y\"\r\nz.jpg", "");
    put("t/1.csv", "\xef\xbb\xbfid,\"path\", label ,split\r\n"
                   "1,img/a b.jpg, dog ,train\r\n"
                   "\r\n"
                   "2,\"x, \"\"y\"\"\r\nz.jpg\",\"cat, wild\",TEST\r\n"
                   "3,/abs/c.jpg,ant,test\n"
                   "4,../up.jpg,dog,train");
    load("t/1.csv");
    assert_string_equal(l.name, "1");
    is_classes("ant|cat, wild|dog");
    is_list(&l.train, "2:t/img/a b.jpg 2:t/../up.jpg");
    is_list(&l.test, "1:t/x, \"y\"\r\nz.jpg 0:/abs/c.jpg");
    notes("1 path is absolute and taken as written (the first: line 6)");
    notes("1 path leads out of");
    notes("1 of 3 classes has no test image: dog");
    put("t/2.tsv", "file_name\ttruth\nimg/a b.jpg\t3\nimg/b.jpg\t1\n");
    load("t/2.tsv");
    is_classes("0|1|2|3"); // numbers
    is_list(&l.train, "3:t/img/a b.jpg 1:t/img/b.jpg");
    notes("2 of 4 classes have no training image: 0, 2");
    put("t/3.csv", "path,label\rimg/a b.jpg,3\rimg/b.jpg,x\r");
    load("t/3.csv");
    is_classes("3|x"); // names, as soon as one is none
}

// The header and rows of fastai's noisy_imagenette.csv.
static void imagenette(void **state) {
    (void)state;
    put("n/noisy.csv", "path,noisy_labels_0,noisy_labels_1,noisy_labels_50,is_valid\n"
                       "train/n02979186/n02979186_9036.JPEG,n02979186,n02979186,n03000684,False\n"
                       "train/n03000684/n03000684_1.JPEG,n03000684,n03000684,n02979186,False\n"
                       "val/n02979186/ILSVRC2012_val_1.JPEG,n02979186,n02979186,n02979186,True\n");
    put("n/train/n02979186/n02979186_9036.JPEG", "");
    put("n/val/n02979186/ILSVRC2012_val_1.JPEG", "");
    fails("n/noisy.csv",
          "noisy.csv: line 1: several columns could be the labels: noisy_labels_0, noisy_labels_1, "
          "noisy_labels_50;",
          "--label-column");
    load_with("n/noisy.csv", &(struct rt_listing_options){.label_column = "noisy_labels_50"});
    is_classes("n02979186|n03000684");
    is_list(&l.train, "1:n/train/n02979186/n02979186_9036.JPEG 0:n/train/n03000684/n03000684_1.JPEG");
    is_list(&l.test, "0:n/val/n02979186/ILSVRC2012_val_1.JPEG");
    fails_with("n/noisy.csv", &(struct rt_listing_options){.label_column = "noisy"}, "no column \"noisy\"",
               "noisy_labels_0");
    load("n"); // the folder beside it
    assert_string_equal(l.kind, "class folders");
}

static void roots(void **state) {
    (void)state;
    put("r/lists/t.csv", "path,label\na.jpg,x\nb.jpg,y\n");
    put("r/images/a.jpg", "");
    fails("r/lists/t.csv", "t.csv: line 2: ", "r/lists (--image-root DIR)");
    load_with("r/lists/t.csv", &(struct rt_listing_options){.image_root = at("r/images")});
    is_list(&l.train, "0:r/images/a.jpg 1:r/images/b.jpg");
    put("r/w.csv", "path,label\nimages\\a.jpg,x\n");
    fails("r/w.csv", "line 2", "written with / instead of \\");
    assert_int_equal(chdir(at("r/images")), 0);
    put("r/images/t.csv", "path,label\na.jpg,x\n");
    rt_listing_release(&l);
    assert_int_equal(rt_listing_load("t.csv", NULL, &l), SMKD_R_OK);
    assert_string_equal(rt_list_path(&l.train, 0), "a.jpg");
    assert_int_equal(chdir("/"), 0);
}

static void jsonl(void **state) {
    (void)state;
    put("j/a.jpg", "");
    put("j/b.jpg", "");
    put("j/1.jsonl", "\n{\"path\": \"a.jpg\", \"label\": \"z\\u00e4h\", \"split\": \"train\", \"boxes\": [[1, 2]]}\r\n"
                     "{\"label\": \"a\", \"path\": \"b.jpg\", \"split\": \"val\"}\n");
    load("j/1.jsonl");
    is_classes("a|z\xc3\xa4h");
    is_list(&l.train, "1:j/a.jpg");
    is_list(&l.test, "0:j/b.jpg");
    put("j/2.ndjson", "{\"file_name\": \"a.jpg\", \"y\": 2, \"is_valid\": false}\n"
                      "{\"file_name\": \"b.jpg\", \"y\": 0, \"is_valid\": true}\n");
    load("j/2.ndjson");
    is_classes("0|1|2");
    is_list(&l.train, "2:j/a.jpg");
    is_list(&l.test, "0:j/b.jpg");
}

// What is wrong with a table, and where.
static void bad_tables(void **state) {
    (void)state;
    static const struct {
        const char *name, *text, *part1, *part2;
    } cases[] = {
        {"empty.csv", "", "empty.csv: is empty", ""},
        {"blank.csv", "\n\n", "blank.csv: line", "there is no column \"path\""},
        {"header.csv", "path,label\n", "has no images", ""},
        {"nopath.csv", "img,label\na,b\n", "line 1: there is no column \"path\"", "columns are img, label"},
        {"nolabel.csv", "path,split\na,train\n", "line 1: there is no column \"label\"", "columns are path, split"},
        {"twice.csv", "path,label,label\na,b,c\n", "line 1: column \"label\" is there twice", ""},
        {"short.csv", "path,label\na.jpg,x\nb.jpg\n", "line 3: has 1 field, the header has 2", ""},
        {"long.csv", "path,label\n\"a\n.jpg\",x\nb.jpg,x,y\n", "line 4: has 3 fields, the header has 2", ""},
        {"open.csv", "path,label\na.jpg,x\n\"b.jpg,y\nc.jpg,z\n", "line 3: a quoted field begins that does not end",
         ""},
        {"after.csv", "path,label\n\"a\" b.jpg,x\n", "line 2: something follows the quote", ""},
        {"nolab.csv", "path,label\na.jpg,x\nb.jpg,\n", "line 3: the label is empty", ""},
        {"nopth.csv", "path,label\n,x\n", "line 2: the path is empty", ""},
        {"split.csv", "path,label,split\na.jpg,x,later\n", "line 2: split is \"later\"", "train, val or test"},
        {"valid.csv", "path,label,is_valid\na.jpg,x,maybe\n", "line 2: is_valid is \"maybe\"", "True or False"},
        {"minus.csv", "path,label\na.jpg,1\nb.jpg,-1\n", "line 3: label -1", "whole numbers from 0"},
        {"large.csv", "path,label\na.jpg,1\nb.jpg,99999999999\n", "line 3: label 99999999999", "whole numbers from 0"},
        {"utf8.csv", "path,label\na.jpg,\xe4\n", "line 2: the class's name", "is no UTF-8"},
        {"empty.jsonl", "", "is empty", ""},
        {"text.jsonl", "path,label\n", "line 1: is not JSON", ""},
        {"array.jsonl", "[1, 2]\n", "line 1: is no object", ""},
        {"two.jsonl", "{\"path\": \"a\", \"label\": 1} {}\n", "line 1: has something behind its object", ""},
        {"cut.jsonl", "{\"path\": \"a\", \"label\": 1}\n{\"path\": \"b\", \"la", "line 2: is not JSON", ""},
        {"key.jsonl", "{\"path\": \"a\", \"label\": 1}\n{\"path\": \"b\"}\n", "line 2: there is no \"label\"", ""},
        {"half.jsonl", "{\"path\": \"a\", \"label\": 1.5}\n", "line 1: \"label\" is neither text nor a whole number",
         ""},
        {"list.jsonl", "{\"path\": \"a\", \"label\": [1]}\n", "line 1: \"label\" is neither text nor a whole", ""},
        {"null.jsonl", "{\"path\": \"a\", \"label\": null}\n", "line 1: the label is empty", ""},
        {"number.jsonl", "{\"image\": 7, \"label\": 1}\n", "line 1: ", "7 does not exist"},
        {"nest.jsonl", "{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "line 1: is nested more than 32 deep", ""},
        {"nul.jsonl", "{\"path\": \"a\\u0000b\", \"label\": 1}\n", "line 1: has a NUL in it", ""},
        {"many.jsonl", "{\"path\": \"a\", \"x\": 1, \"y\": 2}\n", "line 1: several columns could be the labels: x, y",
         ""},
        {"zip.csv", "PK\3\4 [Content_Types].xml", "is a zip archive", "text in UTF-8 is expected"},
        {"wide.csv", "\xff\xfep", "is text in UTF-16", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[64];
        snprintf(name, sizeof name, "k/%s", cases[i].name);
        put(name, cases[i].text);
        fails(name, cases[i].part1, cases[i].part2);
    }
    put_n("k/nul.csv", "path,label\na\0b.jpg,x\n", 21);
    fails("k/nul.csv", "nul.csv: is no text: byte 12 is 0", "");
    folder("k/folder.csv");
    fails("k/folder.csv", "has no image", "folder.csv");
    fails("k/gone.csv", "gone.csv: cannot be read: No such file", "");
}

// The classes of a run that is evaluated.
static void given_classes(void **state) {
    (void)state;
    static const char *const run[] = {"zebra", "cat", "10", "9"};
    const struct rt_listing_options o = {.classes = run, .n_classes = 4};
    put("m/cat/a.jpg", "");
    put("m/9/a.jpg", "");
    folder("m/unknown"); // empty: nothing to say
    load_with("m", &o);
    is_classes("zebra|cat|10|9");
    is_list(&l.train, "3:m/9/a.jpg 1:m/cat/a.jpg");
    put("m/unknown/a.jpg", "");
    fails_with("m", &o, "m/unknown: \"unknown\" is none of the 4 classes of the run: zebra, cat, 10, 9", "");
    put("m/n.csv", "path,label\ncat/a.jpg,0\n9/a.jpg,3\n"); // numbers that are no names
    load_with("m/n.csv", &o);
    is_list(&l.train, "0:m/cat/a.jpg 3:m/9/a.jpg");
    put("m/n.csv", "path,label\ncat/a.jpg,10\n9/a.jpg,9\n"); // and such that are
    load_with("m/n.csv", &o);
    is_list(&l.train, "2:m/cat/a.jpg 3:m/9/a.jpg");
    put("m/n.csv", "path,label\ncat/a.jpg,1\n9/a.jpg,4\n");
    fails_with("m/n.csv", &o, "n.csv: line 3: \"4\" is none of the 4 classes of the run", "");
}

// --- data sets with files of their own -------------------------------------------------------------------------------

static void food101(void **state) {
    (void)state;
    put("food-101/meta/classes.txt", "apple_pie\nbaklava\n");
    put("food-101/meta/train.txt", "baklava/12\napple_pie/3\n");
    put("food-101/meta/test.txt", "apple_pie/7\n");
    put("food-101/images/baklava/12.jpg", "");
    put("food-101/images/apple_pie/7.jpg", "");
    load("food-101");
    assert_string_equal(l.kind, "Food-101");
    is_classes("apple_pie|baklava");
    is_list(&l.train, "1:food-101/images/baklava/12.jpg 0:food-101/images/apple_pie/3.jpg");
    is_list(&l.test, "0:food-101/images/apple_pie/7.jpg");
    put("food-101/meta/test.txt", "apple_pie/7\n\npizza/8\n");
    fails("food-101", "meta/test.txt: line 3: \"pizza\" is none of the 2 classes of", "meta/classes.txt");
    put("food-101/meta/test.txt", "apple_pie\n");
    fails("food-101", "meta/test.txt: line 1: \"apple_pie\": CLASS/NUMBER", "");
    put("food-101/meta/test.txt", "");
    fails("food-101", "meta/test.txt: is empty", "");
    put("food-101/meta/test.txt", "apple_pie/99\n");
    fails("food-101", "meta/test.txt: line 1: ", "apple_pie/99.jpg does not exist");
    put("food-101/meta/classes.txt", "baklava\nbaklava\n");
    fails("food-101", "meta/classes.txt: line 2: class baklava is there twice", "");
}

static void webvision(void **state) {
    (void)state;
    put("wv/info/train_filelist_google.txt", "google/q0001/a b.jpg 1\ngoogle/q0002/c.jpg 0\ngoogle/q9/d.jpg 50\n");
    put("wv/info/val_filelist.txt", "val000001.jpg 1\nval000002.jpg 77\n");
    put("wv/google/q0001/a b.jpg", "");
    put("wv/val_images_256/val000001.jpg", "");
    load("wv");
    assert_string_equal(l.kind, "WebVision mini");
    is_list(&l.train, "1:wv/google/q0001/a b.jpg 0:wv/google/q0002/c.jpg");
    is_list(&l.test, "1:wv/val_images_256/val000001.jpg");
    is_classes("0|1");
    notes("2 of 3 images are of the first 50 classes");
    put("wv/info/synsets.txt", "n01440764 tench, Tinca tinca\nn01443537 goldfish\nn01484850 great white shark\n");
    load("wv");
    is_classes("n01440764|n01443537|n01484850");
    put("wv/info/val_filelist.txt", "val000001.jpg\n");
    fails("wv", "val_filelist.txt: line 1: \"val000001.jpg\": a path and a label", "");
    put("wv/info/val_filelist.txt", "val000001.jpg 1\nval000002.jpg x\n");
    fails("wv", "val_filelist.txt: line 2: ", "a path and a label");
    put("wv/info/val_filelist.txt", "val000001.jpg 49\n");
    fails("wv", "val_filelist.txt: line 1: \"49\" is none of the 3 classes of", "synsets.txt");
}

static void clothing1m(void **state) {
    (void)state;
    put("c1m/noisy_train_key_list.txt", "images/0/1/a.jpg\nimages/0/1/b.jpg\n");
    put("c1m/noisy_label_kv.txt", "images/0/1/b.jpg 2\nimages/0/1/z.jpg 13\nimages/0/1/a.jpg 0\n");
    put("c1m/clean_val_key_list.txt", "images/0/1/c.jpg\n");
    put("c1m/clean_test_key_list.txt", "images/0/1/d.jpg\n");
    put("c1m/clean_label_kv.txt", "images/0/1/c.jpg 1\nimages/0/1/d.jpg 2\n");
    put("c1m/0/1/a.jpg", "");
    put("c1m/0/1/c.jpg", "");
    put("c1m/0/1/d.jpg", "");
    load("c1m");
    assert_string_equal(l.kind, "Clothing1M");
    is_list(&l.train, "0:c1m/0/1/a.jpg 2:c1m/0/1/b.jpg");
    is_list(&l.test, "1:c1m/0/1/c.jpg");
    notes("the 1 images of its test part are not used");
    is_classes("0|1|2");
    put("c1m/category_names_eng.txt", "T-Shirt\nShirt\nKnitwear\n");
    put("c1m/images/0/1/a.jpg", "");
    put("c1m/images/0/1/d.jpg", "");
    load_with("c1m", &(struct rt_listing_options){.test_split = "test"});
    is_list(&l.train, "0:c1m/images/0/1/a.jpg 2:c1m/images/0/1/b.jpg");
    is_list(&l.test, "2:c1m/images/0/1/d.jpg");
    is_classes("T-Shirt|Shirt|Knitwear");
    put("c1m/noisy_train_key_list.txt", "images/0/1/a.jpg\nimages/0/1/x.jpg\n");
    fails("c1m", "noisy_train_key_list.txt: line 2: \"images/0/1/x.jpg\" has no label in", "noisy_label_kv.txt");
    put("c1m/noisy_label_kv.txt", "images/0/1/z.jpg 2\n");
    put("c1m/noisy_train_key_list.txt", "images/0/1/z.jpg\n");
    fails("c1m", "z.jpg does not exist", "c1m (--image-root DIR)");
    put("c1m/noisy_label_kv.txt", "images/0/1/a.jpg\n");
    fails("c1m", "noisy_label_kv.txt: line 1: ", "a key and a label");
}

static void animal10n(void **state) {
    (void)state;
    put("an/training/0_2.jpg", "");
    put("an/training/0_10.jpg", "");
    put("an/training/9_1.jpg", "");
    put("an/training/readme", "");
    put("an/testing/5_1.jpg", "");
    load("an");
    assert_string_equal(l.kind, "Animal-10N");
    is_list(&l.train, "0:an/training/0_10.jpg 0:an/training/0_2.jpg 9:an/training/9_1.jpg");
    is_list(&l.test, "5:an/testing/5_1.jpg");
    is_classes("cat|lynx|wolf|coyote|cheetah|jaguar|chimpanzee|orangutan|hamster|guinea pig");
    notes("8 of 10 classes have no training image");
}

// What is wrong with the files of the data sets: ten of each, all else as it should be.
static void bad_lists(void **state) {
    (void)state;
    static const struct {
        const char *file, *text; // text NULL: the file is not there
        const char *part1, *part2;
    } cases[] = {
        {"F/meta/train.txt", "", "meta/train.txt: is empty", ""},
        {"F/meta/train.txt", "a/1\n\xff\xfe", "meta/train.txt: line 2: ", "CLASS/NUMBER is expected"},
        {"F/meta/train.txt",
         "\xff\xfe"
         "a",
         "is text in UTF-16", "text in UTF-8 is expected"},
        {"F/meta/train.txt", "\n \n\t\r\n", "has no training image", ""},
        {"F/meta/train.txt", "a/1\n/2\n", "meta/train.txt: line 2: \"/2\": CLASS/NUMBER", ""},
        {"F/meta/train.txt", "a/1\nc/2\n", "meta/train.txt: line 2: \"c\" is none of the 2 classes", "a, b"},
        {"F/meta/train.txt", "a/7\na/8\n",
         "meta/train.txt: line 1: ", "images/a/7.jpg does not exist, nor do the next"},
        {"F/meta/train.txt", "{\"a\": [\"a/1\"]}\n", "meta/train.txt: line 1: ", "is none of the 2 classes"},
        {"F/meta/test.txt", "PK\3\4", "meta/test.txt: is a zip archive", ""},
        {"F/meta/classes.txt", "a\nb\na\n", "meta/classes.txt: line 3: class a is there twice", ""},
        {"F/meta/classes.txt", "a\n\xe9\n", "meta/classes.txt: line 2: the class's name is no UTF-8", ""},
        {"F/meta/classes.txt", "", "meta/classes.txt: is empty", ""},
        {"W/info/train_filelist_google.txt", "", "train_filelist_google.txt: is empty", ""},
        {"W/info/train_filelist_google.txt", "g/1.jpg\n", "line 1: \"g/1.jpg\": a path and a label", ""},
        {"W/info/train_filelist_google.txt", "g/1.jpg 0\n g/2.jpg one\n", "line 2: \"g/2.jpg one\": a path and a label",
         ""},
        {"W/info/train_filelist_google.txt", "g/1.jpg -1\n", "line 1: ", "a path and a label"},
        {"W/info/train_filelist_google.txt", "g/1.jpg 1.5\n", "line 1: ", "a path and a label"},
        {"W/info/train_filelist_google.txt", "g/1.jpg 99999999999999999999\n", "line 1: ", "a path and a label"},
        {"W/info/train_filelist_google.txt", "g/1.jpg,0\n", "line 1: ", "a path and a label"},
        {"W/info/train_filelist_google.txt", "g/9.jpg 0\n", "line 1: ", "g/9.jpg does not exist"},
        {"W/info/val_filelist.txt", "v.jpg 0\n\x80\x04\x95", "val_filelist.txt: line 2: ", ""},
        {"W/info/val_filelist.txt", "\x80\x04\x95 0\n", "val_filelist.txt: is a Python pickle", ""},
        {"W/info/synsets.txt", "n1 x\nn1 y\n", "synsets.txt: line 2: class n1 is there twice", ""},
        {"W/info/synsets.txt", "n1 x\n", "line 2: \"1\" is none of the 1 classes of", "synsets.txt: n1"},
        {"C/noisy_train_key_list.txt", "", "noisy_train_key_list.txt: is empty", ""},
        {"C/noisy_train_key_list.txt", "images/1.jpg 0\n", "line 1: \"images/1.jpg 0\" has no label in", ""},
        {"C/noisy_train_key_list.txt", "images/1.jpg\nimages/7.jpg\n", "line 2: \"images/7.jpg\" has no label in", ""},
        {"C/noisy_train_key_list.txt", "\xfe\xff", "is text in UTF-16", ""},
        {"C/noisy_label_kv.txt", "", "noisy_label_kv.txt: is empty", ""},
        {"C/noisy_label_kv.txt", "images/1.jpg\n", "noisy_label_kv.txt: line 1: ", "a key and a label"},
        {"C/noisy_label_kv.txt", "images/1.jpg -1\nimages/2.jpg 0\n",
         "noisy_label_kv.txt: line 1: \"-1\" is none of the 2 classes", ""},
        {"C/noisy_label_kv.txt", "images/1.jpg 99999999999\nimages/2.jpg 0\n",
         "line 1: \"99999999999\" is none of the 2 classes", ""},
        {"C/noisy_label_kv.txt", "images/2.jpg 0\n", "noisy_train_key_list.txt: line 1: ", "has no label in"},
        {"C/clean_label_kv.txt", "images/1.jpg 0\n", "clean_test_key_list.txt: line 1: ", "has no label in"},
        {"C/clean_test_key_list.txt", "", "clean_test_key_list.txt: is empty", ""},
        {"C/category_names_eng.txt", "Shirt\nShirt\n", "line 2: class Shirt is there twice", ""},
        {"C/category_names_eng.txt", "Shirt\n", "noisy_label_kv.txt: line 2: \"1\" is none of the 1 classes", ""},
    };
    static const struct {
        const char *file, *text;
    } good[] = {{"F/meta/train.txt", "a/1\nb/2\n"},
                {"F/meta/test.txt", "a/1\n"},
                {"F/meta/classes.txt", "a\nb\n"},
                {"F/images/a/1.jpg", ""},
                {"W/info/train_filelist_google.txt", "g/1.jpg 0\ng/2.jpg 1\n"},
                {"W/info/val_filelist.txt", "v.jpg 0\n"},
                {"W/info/synsets.txt", "n1 x\nn2 y\n"},
                {"W/g/1.jpg", ""},
                {"W/val_images_256/v.jpg", ""},
                {"C/noisy_train_key_list.txt", "images/1.jpg\nimages/2.jpg\n"},
                {"C/noisy_label_kv.txt", "images/1.jpg 0\nimages/2.jpg 1\n"},
                {"C/clean_test_key_list.txt", "images/3.jpg\n"},
                {"C/clean_label_kv.txt", "images/3.jpg 1\n"},
                {"C/category_names_eng.txt", "Shirt\nDress\n"},
                {"C/images/1.jpg", ""},
                {"C/images/3.jpg", ""}};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) put(good[i].file, good[i].text);
    load("F");
    load("W");
    load("C");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        put(cases[i].file, cases[i].text);
        if (strstr(cases[i].part1, "has no training image")) // nothing in the list: the test part is still there
            load("F"), assert_int_equal(l.train.n, 0);
        else
            fails((char[]){cases[i].file[0], 0}, cases[i].part1, cases[i].part2);
        for (size_t k = 0; k < sizeof good / sizeof *good; k++)
            if (strcmp(good[k].file, cases[i].file) == 0) put(good[k].file, good[k].text);
    }
    put("A/training/3_1.jpg", "");
    put("A/testing/4_x.png", "");
    put("A/testing/12_1.jpg", ""); // a label that there is not
    put("A/testing/cat_1.jpg", "");
    load("A");
    is_list(&l.test, "4:A/testing/4_x.png");
    notes("2 files whose names are not LABEL_NUMBER.jpg are left out");
}

// 12 bytes beside the path and its end, however the files come.
static void memory(void **state) {
    (void)state;
    struct str s = STR_INIT;
    str_add(&s, "path,label\n");
    size_t bytes = 0;
    for (int i = 0; i < 5000; i++) {
        str_addf(&s, "/x/%d.jpg,%d\n", i, i % 7);
        bytes += (size_t)snprintf(NULL, 0, "/x/%d.jpg", i) + 1;
    }
    put("big.csv", s.s);
    put("x.jpg", "");
    str_release(&s);
    fails("big.csv", "line 2: /x/0.jpg does not exist", "");
    assert_int_equal(l.train.n, 5000);
    budget_set(10000);
    fails("big.csv", "it would take", "--max-memory");
    budget_set(UINT64_MAX);
    s = (struct str)STR_INIT;
    str_addf(&s, "path,label\nx.jpg,0\n");
    bytes = strlen(at("x.jpg")) + 1;
    for (int i = 0; i < 5000; i++) {
        str_addf(&s, "/x/%d.jpg,%d\n", i, i % 7);
        bytes += (size_t)snprintf(NULL, 0, "/x/%d.jpg", i) + 1;
    }
    put("big.csv", s.s);
    str_release(&s);
    load("big.csv");
    assert_int_equal(l.train.n, 5001);
    assert_int_equal(l.train.cap, 5001);
    assert_int_equal(l.train.room, bytes);
    is_classes("0|1|2|3|4|5|6");
}

static void kinds(void **state) {
    (void)state;
    const char *kind, *layout;
    size_t n = 0;
    while (rt_listing_kind(n, &kind, &layout)) {
        assert_true(*kind && *layout);
        n++;
    }
    assert_int_equal(n, 7);
}

static int setup(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "/tmp/smkd_listing_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state) {
    (void)state;
    rt_listing_release(&l);
    char cmd[128];
    snprintf(cmd, sizeof cmd, "rm -rf %s", dir);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splits_and_order),
        cmocka_unit_test(one_folder),
        cmocka_unit_test(which_part),
        cmocka_unit_test(a_folder_too_high),
        cmocka_unit_test(links),
        cmocka_unit_test(deep),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(csv),
        cmocka_unit_test(imagenette),
        cmocka_unit_test(roots),
        cmocka_unit_test(jsonl),
        cmocka_unit_test(bad_tables),
        cmocka_unit_test(given_classes),
        cmocka_unit_test(food101),
        cmocka_unit_test(webvision),
        cmocka_unit_test(clothing1m),
        cmocka_unit_test(animal10n),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(memory),
        cmocka_unit_test(kinds),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
